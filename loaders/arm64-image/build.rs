//! Gives the loader its own memory layout; the library, which also runs on the host, has none.

fn main() {
    println!("cargo:rerun-if-changed=image.ld");
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rustc-link-arg-bins=-T{folder}/image.ld");
}
