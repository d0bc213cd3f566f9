//! `secrets`: values that were granted by name. Asking for another is answered with nothing.

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::run::State;

pub(super) fn link(linker: &mut Linker<State>, name: &str) -> wasmtime::Result<()> {
    linker.instance(name)?.func_wrap("get", get)
}

type Found = (Option<String>,);

fn get(store: StoreContextMut<'_, State>, (name,): (String,)) -> wasmtime::Result<Found> {
    let secret = store.data().deployment.grants().secrets.get(&name);
    Ok((secret.map(|secret| secret.reveal().to_owned()),))
}
