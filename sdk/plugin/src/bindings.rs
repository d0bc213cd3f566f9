//! The bindings to the host, generated from the contract. Compiled for guests only.

#[allow(unsafe_code, reason = "generated; the canonical ABI passes pointers")]
#[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
pub mod sink {
    wit_bindgen::generate!({
        path: "../wit/plugin.wit",
        world: "sink",
        pub_export_macro: true,
        generate_all,
    });
}

#[allow(unsafe_code, reason = "generated; the canonical ABI passes pointers")]
#[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
pub mod transform {
    wit_bindgen::generate!({
        path: "../wit/plugin.wit",
        world: "transform",
        pub_export_macro: true,
        with: {
            "millrace:plugin/types@0.1.0": crate::bindings::sink::millrace::plugin::types,
            "millrace:plugin/log@0.1.0": crate::bindings::sink::millrace::plugin::log,
            "millrace:plugin/secrets@0.1.0": crate::bindings::sink::millrace::plugin::secrets,
        },
        generate_all,
    });
}

#[allow(unsafe_code, reason = "generated; the canonical ABI passes pointers")]
#[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
pub mod partitioner {
    wit_bindgen::generate!({
        path: "../wit/plugin.wit",
        world: "partitioner",
        pub_export_macro: true,
        with: {
            "millrace:plugin/types@0.1.0": crate::bindings::sink::millrace::plugin::types,
            "millrace:plugin/log@0.1.0": crate::bindings::sink::millrace::plugin::log,
            "millrace:plugin/secrets@0.1.0": crate::bindings::sink::millrace::plugin::secrets,
        },
    });
}

pub(crate) use sink::millrace::plugin::{
    log as host_log, postgres as host_postgres, secrets as host_secrets,
};

pub(crate) use transform::millrace::plugin::output as host_output;
