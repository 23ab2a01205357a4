//! Compiles the protocol in pure Rust: nobody who builds Larder needs protoc.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["larder/v1/larder.proto"], ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("larder_descriptor.bin");
    std::fs::File::create(&out).and_then(|mut f| {
        use std::io::Write;
        f.write_all(&descriptors.encode_to_vec())
    })?;
    tonic_prost_build::configure().bytes(".larder.v1").compile_fds(descriptors)?;
    Ok(())
}
