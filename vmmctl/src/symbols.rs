//! Names for addresses of the running Linux kernel, from /proc/kallsyms, as far as it shows them to the caller.

use crate::host::Host;

/// The kernel's text symbols by address.
#[derive(Debug, Default)]
pub(crate) struct Symbols(Vec<(u64, String)>);

impl Symbols {
    /// The machine's. None where Linux hides them (`kernel.kptr_restrict`).
    pub(crate) fn of(host: &Host) -> Self {
        host.kernel_symbols().map_or_else(Self::default, |text| Self::parse(&text))
    }

    /// The lines of /proc/kallsyms. Addresses of 0 are what it shows to those who may not know.
    pub(crate) fn parse(text: &str) -> Self {
        let symbol = |line: &str| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok().filter(|address| *address != 0)?;
            let is_code = matches!(words.next()?, "t" | "T" | "w" | "W");
            let name = words.next()?;
            let module = words.next().map(|module| format!(" {module}")).unwrap_or_default();
            is_code.then(|| (address, format!("{name}{module}")))
        };
        let mut symbols: Vec<_> = text.lines().filter_map(symbol).collect();
        symbols.sort_by_key(|(address, _)| *address);
        Self(symbols)
    }

    /// The symbol that an address lies behind, and how far.
    pub(crate) fn find(&self, address: u64) -> Option<String> {
        /// What lies further away is in no function of that name.
        const FURTHEST: u64 = 1 << 20;
        let behind = self.0.partition_point(|(start, _)| *start <= address);
        let (start, name) = self.0.get(behind.checked_sub(1)?)?;
        match address - start {
            0 => Some(name.clone()),
            offset if offset < FURTHEST => Some(match name.split_once(' ') {
                Some((name, module)) => format!("{name}+{offset:#x} {module}"),
                None => format!("{name}+{offset:#x}"),
            }),
            _ => None,
        }
    }

    /// The same, or the address.
    pub(crate) fn name(&self, address: u64) -> String {
        self.find(address).unwrap_or_else(|| format!("{address:#x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_name_before_it() {
        let symbols = Symbols::parse(
            "ffffffff81000200 t second\nffffffff81000000 T first\nffffffff81000100 d data\n\
             ffffffffc0000000 t of_module\t[plinth]\nbroken\n0000000000000000 T hidden\n",
        );
        assert_eq!(symbols.find(0xffff_ffff_8100_0000).as_deref(), Some("first"));
        assert_eq!(symbols.find(0xffff_ffff_8100_01ff).as_deref(), Some("first+0x1ff"));
        assert_eq!(symbols.find(0xffff_ffff_c000_0010).as_deref(), Some("of_module+0x10 [plinth]"));
        assert_eq!((symbols.find(0x1000), symbols.find(u64::MAX)), (None, None));
        assert_eq!(symbols.name(0x1000), "0x1000");
        let hidden = Symbols::parse("0000000000000000 T first\n0000000000000000 T second\n");
        assert_eq!(hidden.find(0x10), None);
    }
}
