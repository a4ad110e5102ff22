#!/bin/sh
# Makes the crate of a new extension, ready to build, from this SDK: `new-extension NAME [FOLDER]`.
set -eu

die() {
	echo "new-extension: $1" >&2
	exit 1
}

[ $# -ge 1 ] && [ $# -le 2 ] || die "say \`new-extension NAME [FOLDER]\`: the crate is made in FOLDER/NAME"
name=$1
case "$name" in
'' | [!a-z]* | *[!a-z0-9-]* | *-) die "'$name' is no name for an extension: small letters, digits and '-', a letter first" ;;
plinth | default | core | std | alloc | test | log) die "'$name' is the name of something else; take another one" ;;
esac
sdk=$(cd "$(dirname "$0")" && pwd)
parent=$(cd "${2:-.}" && pwd) || die "there is no folder ${2:-.}; make it first"
folder=$parent/$name
[ ! -e "$folder" ] || die "$folder is there already; take another name or remove it"

mkdir -p "$folder/src" "$folder/.cargo"
fill() {
	sed -e "s|NAME|$name|g" -e "s|'API'|'$sdk/extension-api'|" "$sdk/template/$1" >"$folder/$2"
}
fill main.rs src/main.rs
fill outside.toml Cargo.toml
cp "$sdk/template/config.toml" "$folder/.cargo/config.toml"
echo /target >"$folder/.gitignore"

echo "made $folder"
echo "build it:  cd $folder && cargo build --release"
echo "run it:    sudo vmmctl start --extension $folder/target/x86_64-unknown-none/release/$name"
