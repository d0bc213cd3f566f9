//! The attributes on functions and implementations, and what the harness shows of plugins.

use millrace_plugin::testing::{self, Input, Setup, host};
use millrace_plugin::{
    Batch, Context, DeliveryError, Output, Outputs, Partitioner, Record, Result, info, partitioner, secrets,
    sink, stable_hash, transform,
};

mod filter {
    use super::*;

    #[transform]
    pub fn errors_only(record: &Record<'_>, out: &mut Outputs) {
        if record.value_str().is_some_and(|text| text.contains("ERROR")) {
            out.forward(record);
        }
    }
}

#[test]
fn a_function_is_a_transform() {
    let mut plugin = Setup::new().output("errors").transform::<filter::errors_only>().unwrap();
    let records =
        [Input::value("fine"), Input::value("ERROR 1").key("k"), Input::value("ERROR 2").header("h", "v")];
    let sent = plugin.run(&records).unwrap();
    assert_eq!(sent.values("errors"), ["ERROR 1", "ERROR 2"]);
    assert_eq!(sent.records("errors")[0].key_str(), "k");
    assert_eq!(sent.records("errors")[1].header("h"), Some("v"));
    assert!(plugin.run(&[Input::tombstone()]).unwrap().is_empty());
}

mod routes {
    use super::*;

    pub struct ByRegion {
        eu: Output,
        rest: Output,
    }

    #[transform]
    impl millrace_plugin::Transform for ByRegion {
        fn start(context: &Context) -> Result<Self> {
            Ok(Self { eu: context.output("eu")?, rest: context.output(context.require("rest")?)? })
        }

        fn transform(&mut self, record: &Record<'_>, out: &mut Outputs) -> Result<()> {
            match record.header_str("region") {
                Some("eu") => out.forward_to(self.eu, record),
                Some(_) => out.forward_to(self.rest, record),
                None => return Err(millrace_plugin::Error::new("no region")),
            }
            Ok(())
        }
    }
}

#[test]
fn an_implementation_is_a_transform() {
    let setup = Setup::new().output("other").output("eu");
    let error = setup.transform::<routes::ByRegion>().map(drop).unwrap_err();
    assert_eq!(error.message(), "the deployment lacks the setting `rest`");
    let error = setup.clone().config("rest", "mars").transform::<routes::ByRegion>().map(drop).unwrap_err();
    assert_eq!(error.message(), "the deployment has no output topic `mars`; its outputs are: other, eu");

    let mut plugin = setup.config("rest", "other").transform::<routes::ByRegion>().unwrap();
    let sent =
        plugin.run(&[Input::value("1").header("region", "us"), Input::value("2").header("region", "eu")]);
    let sent = sent.unwrap();
    assert_eq!((sent.values("eu"), sent.values("other")), (vec!["2"], vec!["1"]));
    let error = plugin.run(&[Input::value("1").header("region", "eu"), Input::value("2")]).unwrap_err();
    assert_eq!(error.message(), "record at offset 1: no region");
}

mod choices {
    use super::*;

    #[partitioner]
    pub fn by_key(record: &Record<'_>, partitions: u32) -> u32 {
        (stable_hash(record.key().unwrap_or_default()) % u64::from(partitions)) as u32
    }

    pub struct Beyond;

    impl Partitioner for Beyond {
        fn start(_: &Context) -> Result<Self> {
            Ok(Self)
        }

        fn partition(&self, _: &Record<'_>, partitions: u32) -> Result<u32> {
            Ok(partitions)
        }
    }
}

#[test]
fn a_function_is_a_partitioner() {
    let plugin = Setup::new().partitioner::<choices::by_key>().unwrap();
    let records: Vec<Input> =
        (0..1000).map(|number| Input::value("v").key(format!("key-{number}"))).collect();
    let chosen = plugin.run(&records, 10).unwrap();
    assert_eq!(chosen, plugin.run(&records, 10).unwrap());
    for partition in 0..10 {
        let count = chosen.iter().filter(|number| **number == partition).count();
        assert!((70..130).contains(&count), "partition {partition} got {count} of 1000");
    }
    let error = Setup::new().partitioner::<choices::Beyond>().unwrap().run(&records, 10).unwrap_err();
    assert_eq!(error.message(), "record 0: partition 10 was chosen, but there are 10");
}

#[test]
fn the_hash_never_changes() {
    assert_eq!(stable_hash(b""), 0xefd0_1f60_ba99_2926);
    assert_eq!(stable_hash(b"customer-7"), 0x9eec_2e60_556a_f00e);
}

mod delivery {
    use super::*;

    #[sink]
    pub fn to_log(batch: &Batch<'_>, token: &str) -> Result<(), DeliveryError> {
        secrets::require("greeting")?;
        if batch.is_empty() {
            return Err(DeliveryError::retryable("nothing yet"));
        }
        for record in batch {
            info!("{token}: {}", record.value_str().unwrap_or("?"));
        }
        Ok(())
    }
}

#[test]
fn a_function_is_a_sink() {
    let mut plugin = Setup::new().sink::<delivery::to_log>().unwrap();
    let refused = plugin.deliver(&[Input::value("a")], "t").unwrap_err();
    assert_eq!(refused, DeliveryError::record("the secret `greeting` was not granted to this deployment"));
    host::grant_secret("greeting", "hello");
    assert!(plugin.deliver(&[], "t").unwrap_err().is_retryable());
    plugin.deliver(&[Input::value("a"), Input::value("b")], "t").unwrap();
    let lines: Vec<String> = host::take_log().into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, ["t: a", "t: b"]);
}

mod astray {
    use super::*;

    #[transform]
    pub fn to_nowhere(record: &Record<'_>, out: &mut Outputs) {
        out.forward_to(Output::new(3), record);
    }
}

#[test]
fn an_output_that_does_not_exist_fails_the_batch() {
    let mut plugin = Setup::new().output("one").transform::<astray::to_nowhere>().unwrap();
    let error = plugin.run(&[Input::value("v")]).unwrap_err();
    assert_eq!(error.message(), "a record was sent to output 3, but the deployment has 1 outputs");
}

mod copies {
    use super::*;

    #[transform]
    pub fn twice(record: &Record<'_>, out: &mut Outputs) {
        out.forward(record);
        out.forward_to(Output::new(1), record);
        out.forward_to(Output::new(1), record);
    }
}

#[test]
fn full_blocks_are_handed_over() {
    let records: Vec<Input> =
        (0..500).map(|number| Input::value(format!("value {number}")).timestamp_ms(9)).collect();
    let texts: Vec<String> = (0..500).map(|number| format!("value {number}")).collect();
    for block_bytes_max in [18, 60, 100, 1_000, 8_192, 1 << 20] {
        let setup = Setup::new().output("one").output("two").block_bytes_max(block_bytes_max);
        let mut plugin = setup.transform::<copies::twice>().unwrap();
        let blocks = plugin.run_packed(testing::pack(70, &records)).unwrap();
        let mut at = 0;
        while at < blocks.len() {
            let len = u32::from_le_bytes(blocks[at + 8..at + 12].try_into().unwrap());
            assert!(len <= block_bytes_max, "{len} of {block_bytes_max}");
            at += 20 + len as usize;
        }
        let sent = testing::unpack(&blocks, &["one".to_owned(), "two".to_owned()]).unwrap();
        assert_eq!(sent.values("one"), texts);
        let doubled: Vec<&String> = texts.iter().flat_map(|text| [text, text]).collect();
        assert_eq!(sent.values("two"), doubled);
    }
    let setup = Setup::new().output("one").output("two").block_bytes_max(13);
    let error = setup.transform::<copies::twice>().unwrap().run(&records).unwrap_err();
    assert_eq!(error.message(), "a record of 14 bytes was sent; the outputs take at most 13 bytes");
}
