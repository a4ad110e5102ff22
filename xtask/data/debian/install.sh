#!/bin/sh
# Makes a disk with a Debian system in which a package is installed.
# install BASE PACKAGE PARTS TREE OUT: the system's archive; the .deb; the folder with the test and its service; where the
# system is unpacked, a folder that is made anew; where the disk, the kernel and the RAM disk go.
set -eu
base=$1 package=$2 parts=$3 tree=$4 out=$5

rm -rf --one-file-system "$tree"
mkdir -p "$tree"
tar --extract --file "$base" --directory "$tree"
# DKMS looks into /proc, and in a user namespace the archive has no devices. This runs in a mount namespace of its own.
mount --rbind /proc "$tree/proc"
mount --rbind /dev "$tree/dev"

cp "$package" "$tree/tmp/package.deb"
DEBIAN_FRONTEND=noninteractive chroot "$tree" dpkg --install /tmp/package.deb
rm "$tree/tmp/package.deb"

install -m 755 "$parts/test" "$tree/usr/local/sbin/plinth-test"
install -m 644 "$parts/service" "$tree/etc/systemd/system/plinth-test.service"
chroot "$tree" systemctl --quiet enable plinth-test.service
# A login prompt would take the console away; the others only take time.
for unit in serial-getty@ttyS0 getty@tty1 apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer dpkg-db-backup.timer; do
	chroot "$tree" systemctl --quiet mask "$unit"
done
echo '/dev/vda / ext4 defaults 0 0' > "$tree/etc/fstab"
echo 'test' > "$tree/etc/hostname"

cp "$tree"/boot/vmlinuz-* "$out/vmlinuz"
cp "$tree"/boot/initrd.img-* "$out/initrd.img"
umount --recursive "$tree/proc" "$tree/dev"
# What boots does not need what the module was built from.
rm -rf "$tree"/usr/src/linux-* "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/usr/lib/gcc
rm -f "$out/disk.img"
mke2fs -q -t ext4 -d "$tree" "$out/disk.img" 900M
rm -rf --one-file-system "$tree"
