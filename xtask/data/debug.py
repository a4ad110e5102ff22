# Runs inside gdb. LOG (the console's file) and IMAGES (name to ELF file) are set above by `cargo xtask debug`.
# Lets the machine run until the kernel has logged where it and the extension are, loads their symbols there,
# and stops.
import re
import threading
import time

import gdb


def address(name):
    """The address after "NAME at 0x" on the console, or None. The line must be complete."""
    with open(LOG, errors="replace") as log:
        found = re.search(rf"\b{name} at (0x[0-9a-f]+)\b.*\n", log.read())
    return found and found.group(1)


def load(name):
    place = address(name)
    if place:
        gdb.execute(f"add-symbol-file {IMAGES[name]} -o {place}")


def stopped(_):
    gdb.events.stop.disconnect(stopped)
    gdb.post_event(ready)


def ready():
    load("kernel")
    load("extension")
    print("symbols are loaded; set breakpoints and `continue`")


def stop():
    gdb.events.stop.connect(stopped)
    gdb.execute("interrupt")


def wait():
    while not address("kernel"):
        time.sleep(0.02)
    gdb.post_event(stop)


class LoadExtension(gdb.Command):
    """Loads the extension's symbols, once the console has told where it is."""

    def __init__(self):
        super().__init__("plinth-extension", gdb.COMMAND_FILES)

    def invoke(self, argument, from_tty):
        load("extension")


LoadExtension()
gdb.execute("set confirm off")
gdb.execute("set pagination off")
gdb.execute("set architecture i386:x86-64")
gdb.execute("target remote localhost:1234")
threading.Thread(target=wait, daemon=True).start()
gdb.execute("continue &")
