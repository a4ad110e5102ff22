//! Links the kernels for the one address that they run at, with Linux's setup header before them.

fn main() {
    println!("cargo::rerun-if-changed=bzimage.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-T{folder}/bzimage.ld");
        println!("cargo::rustc-link-arg-bins=--no-pie");
    }
}
