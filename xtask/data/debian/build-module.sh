#!/bin/sh
# Builds the module in a Debian system with its kernel's headers.
# build-module BASE SOURCES TREE: the system's archive; loaders/linux; a folder that is made, and removed again.
set -eu
base=$1 sources=$2 tree=$3

mkdir -p "$tree"
trap 'umount --recursive "$tree/proc" "$tree/dev" && rm -rf --one-file-system "$tree"' EXIT
tar --extract --file "$base" --directory "$tree"
# The tool that checks object files looks into /proc, and in a user namespace the archive has no devices. This runs in a mount
# namespace of its own.
mount --rbind /proc "$tree/proc"
mount --rbind /dev "$tree/dev"
cp -r "$sources" "$tree/tmp/module"
headers=$(cd "$tree/usr/src" && echo linux-headers-*-cloud-amd64)
# Types for BPF would take another tool, and nobody reads them.
chroot "$tree" make -C "/usr/src/$headers" M=/tmp/module KCFLAGS=-Werror CONFIG_DEBUG_INFO_BTF_MODULES= modules
[ -f "$tree/tmp/module/plinth.ko" ]
echo "built for ${headers#linux-headers-}"
