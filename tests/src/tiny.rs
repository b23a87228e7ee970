//! The smallest plugin that there is: it hears no device, says nothing, and is made here from the contract's text alone.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

/// A component with this world's imports and exports, of which every function traps. `wit`: a folder of the contract.
pub fn component(wit: &Path, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_dir(wit).expect("the contract's text");
    let package = resolve.push_str("tiny.wit", &format!("package test:tiny; world tiny {{ {world} }}")).expect("a world");
    let world = resolve.select_world(&[package], Some("tiny")).expect("just written");
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("a module takes a section");
    ComponentEncoder::default().module(&module).and_then(|mut encoder| encoder.encode()).expect("a component")
}
