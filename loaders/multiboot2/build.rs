//! Links the loader where GRUB is to load it: at a fixed address, unlike everything else.

fn main() {
    println!("cargo::rerun-if-changed=link.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-T{folder}/link.ld");
        println!("cargo::rustc-link-arg-bins=--no-pie");
    }
}
