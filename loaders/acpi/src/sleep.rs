//! How a PC is put to sleep: which registers do it, and in which kinds of sleep the processors lose their state (ACPI
//! specification 6.5, 4.8.3, 4.8.4 and 7.4).
//!
//! What a kind of sleep is called in the registers, the firmware says in AML, as a package of numbers with the name of the
//! kind: `Name (\_S5, Package () { a, b })`. Nothing here interprets AML: such packages are found by their bytes.

use crate::{Table, Tables};

/// The byte of a control register that starts the sleep: bit 5, with the kind in bits 4:2.
pub const SLEEP_ENABLE: u8 = 1 << 5;
/// The byte of a status register that tells that the machine has woken.
pub const WAKE_STATUS: u8 = 1 << 7;

/// Offsets in the FADT: of the fields of 32 bits, and of the structures or longer fields beside them.
const DSDT: [u64; 2] = [40, 140];
const PM1_EVENTS: [[u64; 2]; 2] = [[56, 148], [60, 160]];
const PM1_CONTROLS: [[u64; 2]; 2] = [[64, 172], [68, 184]];
const SLEEP_CONTROL: u64 = 244;
const SLEEP_STATUS: u64 = 256;

/// Kinds of sleep that leave the processors' state, or lose all of memory: working, S1, hibernation, power off.
const HARMLESS: [u8; 4] = [0, 1, 4, 5];
/// Kinds in which memory stays and the processors start anew, by the firmware: S2 and S3.
const HARMFUL: [u8; 2] = [2, 3];

/// A byte that starts a sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Control {
    /// Its port.
    pub port: u16,
    /// Bit N: the kind N, as the register knows it, may be started.
    pub harmless: u8,
}

impl Control {
    /// The kind of sleep that is started by writing `byte`; `None` for none, and for one that may be started.
    pub const fn forbidden(&self, byte: u8) -> Option<u8> {
        let kind = byte >> 2 & 7;
        if byte & SLEEP_ENABLE != 0 && self.harmless >> kind & 1 == 0 { Some(kind) } else { None }
    }
}

/// The registers. PM1a and PM1b have two fields in the FADT each, which may disagree: all of them count.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sleep {
    /// PM1a_CNT by both fields, PM1b_CNT by both, and the sleep control register: the byte of each that counts.
    pub controls: [Option<Control>; 5],
    /// PM1a_STS and PM1b_STS by both fields, and the sleep status register: the port of the byte of each that tells of waking.
    pub statuses: [Option<u16>; 5],
    /// One of the control registers is no port, but at this address in memory or elsewhere.
    pub elsewhere: Option<u64>,
}

impl Sleep {
    /// The ports of all of them.
    pub fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        let (controls, statuses) = (self.controls, self.statuses);
        controls.into_iter().flatten().map(|control| control.port).chain(statuses.into_iter().flatten())
    }
}

/// Where a register is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Nowhere,
    Port(u16),
    Elsewhere(u64),
}

impl Place {
    const fn port(self) -> Option<u16> {
        if let Self::Port(port) = self { Some(port) } else { None }
    }

    const fn elsewhere(self) -> Option<u64> {
        if let Self::Elsewhere(address) = self { Some(address) } else { None }
    }

    /// The next byte.
    fn next(self) -> Self {
        match self {
            Self::Port(port) => port.checked_add(1).map_or(Self::Nowhere, Self::Port),
            Self::Nowhere | Self::Elsewhere(_) => self,
        }
    }
}

/// Finds the registers; `None` where no table tells of them.
pub fn registers<R: Fn(u64, &mut [u8])>(tables: &Tables<R>) -> Option<Sleep> {
    let fadt = tables.find(b"FACP")?;
    let [a, b] = harmless(tables, &fadt);
    let controls = places(&fadt, PM1_CONTROLS, SLEEP_CONTROL);
    let mut kinds = [a, a, b, b, a].into_iter();
    Some(Sleep {
        controls: controls.map(|place| {
            let harmless = kinds.next().unwrap_or(0);
            place.port().map(|port| Control { port, harmless })
        }),
        statuses: places(&fadt, PM1_EVENTS, SLEEP_STATUS).map(Place::port),
        elsewhere: controls.into_iter().find_map(Place::elsewhere),
    })
}

/// The bytes that count of two registers of 16 bits, each with two fields, and of one of 8 bits.
fn places<R: Fn(u64, &mut [u8])>(fadt: &Table<'_, R>, [a, b]: [[u64; 2]; 2], single: u64) -> [Place; 5] {
    // Of the 16 bits of PM1_CNT and PM1_STS the upper half counts.
    let upper = |place: Place| place.next();
    let [[old_a, new_a], [old_b, new_b]] = [a, b];
    [
        upper(old_field(fadt, old_a)),
        upper(structure(fadt, new_a)),
        upper(old_field(fadt, old_b)),
        upper(structure(fadt, new_b)),
        structure(fadt, single),
    ]
}

/// The register that a field of 32 bits names: a port.
fn old_field<R: Fn(u64, &mut [u8])>(fadt: &Table<'_, R>, offset: u64) -> Place {
    match fadt.word(offset) {
        Some(port) if port != 0 => u16::try_from(port).map_or(Place::Nowhere, Place::Port),
        _ => Place::Nowhere,
    }
}

/// The register that a Generic Address Structure names (ACPI specification 6.5, 5.2.3.2). No processor reaches a port above
/// the first 64 Ki.
fn structure<R: Fn(u64, &mut [u8])>(fadt: &Table<'_, R>, offset: u64) -> Place {
    const PORTS: u8 = 1;
    match (fadt.byte(offset), fadt.long(offset.saturating_add(4))) {
        (None, _) | (_, None | Some(0)) => Place::Nowhere,
        (Some(PORTS), Some(address)) => u16::try_from(address).map_or(Place::Nowhere, Place::Port),
        (Some(_), Some(address)) => Place::Elsewhere(address),
    }
}

/// The kinds that may be started, as the first and the second register know them. One that is also the name of a harmful
/// kind may not; nor may one that no package names.
fn harmless<R: Fn(u64, &mut [u8])>(tables: &Tables<R>, fadt: &Table<'_, R>) -> [u8; 2] {
    let mut sets = [[0; 2]; 2];
    let mut add = |table: &Table<'_, R>| {
        for (kind, numbers) in packages(table) {
            let set = usize::from(HARMFUL.contains(&kind));
            if set == 1 || HARMLESS.contains(&kind) {
                for (bits, number) in sets[set].iter_mut().zip(numbers) {
                    *bits |= 1 << (number & 7);
                }
            }
        }
    };
    let [old, new] = DSDT;
    let dsdt = fadt.long(new).filter(|at| *at != 0).or(fadt.word(old).map(u64::from));
    if let Some(table) = dsdt.and_then(|at| tables.at(at)) {
        add(&table);
    }
    tables.all(b"SSDT").for_each(|table| add(&table));
    let [harmless, harmful] = sets;
    [harmless[0] & !harmful[0], harmless[1] & !harmful[1]]
}

/// The packages of a table of AML, each with the kind of sleep and its first two numbers.
fn packages<'a, R: Fn(u64, &mut [u8])>(
    table: &Table<'a, R>,
) -> impl Iterator<Item = (u8, [u8; 2])> + use<'a, R> {
    let table = table.again();
    (crate::tables::HEADER..table.length()).filter_map(move |at| package(&table, at))
}

/// The package whose name begins at `at`, if one does (ACPI specification 6.5, 20.2.5: DefName, DefPackage).
fn package<R: Fn(u64, &mut [u8])>(table: &Table<'_, R>, at: u64) -> Option<(u8, [u8; 2])> {
    const NAME: u8 = 0x08;
    const ROOT: u8 = b'\\';
    const PACKAGE: u8 = 0x12;
    let [b'_', b'S', digit @ b'0'..=b'5', b'_'] = table.word(at)?.to_le_bytes() else { return None };
    let named = match table.byte(at.checked_sub(1)?)? {
        NAME => true,
        ROOT => table.byte(at.checked_sub(2)?)? == NAME,
        _ => false,
    };
    if !named || table.byte(at.checked_add(4)?)? != PACKAGE {
        return None;
    }
    // The package's length takes one byte, and as many more as its upper two bits say; then the count of elements.
    let more = u64::from(table.byte(at.checked_add(5)?)? >> 6);
    let (first, after) = number(table, at.checked_add(7)?.checked_add(more)?)?;
    let (second, _) = number(table, after)?;
    Some((digit - b'0', [first, second]))
}

/// A number in AML, of which the low byte counts, and where it ends.
fn number<R: Fn(u64, &mut [u8])>(table: &Table<'_, R>, at: u64) -> Option<(u8, u64)> {
    let bytes = match table.byte(at)? {
        zero_or_one @ (0 | 1) => return Some((zero_or_one, at.checked_add(1)?)),
        0x0A => 1,
        0x0B => 2,
        0x0C => 4,
        0x0E => 8,
        _ => return None,
    };
    let value = at.checked_add(1)?;
    Some((table.byte(value)?, value.checked_add(bytes)?))
}

#[cfg(test)]
mod tests;
