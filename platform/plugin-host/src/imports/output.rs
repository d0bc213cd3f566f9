//! `output`: where a transform's blocks go. They are read in the guest's memory and copied once.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList};

use crate::run::{State, Stop};

pub(super) fn link(linker: &mut Linker<State>, name: &str) -> wasmtime::Result<()> {
    linker.instance(name)?.func_wrap("emit", emit)
}

fn emit(mut store: StoreContextMut<'_, State>, (blocks,): (WasmList<u8>,)) -> wasmtime::Result<()> {
    // Guest memory and the state are both behind `store`; the state's part is put back below.
    let mut output = std::mem::take(&mut store.data_mut().output);
    let limits = store.data().deployment.output_limits();
    let taken = output.take(blocks.as_le_slice(&store), &limits);
    store.data_mut().output = output;
    Ok(taken.map_err(Stop::Output)?)
}
