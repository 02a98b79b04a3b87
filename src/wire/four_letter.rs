//! Four-letter words: commands in place of a frame length on a fresh connection (reference: admin-and-metrics 1).

macro_rules! words {
    ($($name:ident = $text:literal,)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum FourLetterWord { $($name,)* }

        impl FourLetterWord {
            pub const ALL: &'static [FourLetterWord] = &[$(FourLetterWord::$name,)*];

            /// The word in these four bytes, if they are one.
            pub fn from_bytes(bytes: [u8; 4]) -> Option<FourLetterWord> {
                $(if bytes == *$text { return Some(FourLetterWord::$name); })*
                None
            }

            pub fn as_str(self) -> &'static str {
                let bytes: &[u8] = match self { $(FourLetterWord::$name => $text,)* };
                std::str::from_utf8(bytes).unwrap_or("telnet close")
            }
        }
    };
}

words! {
    Conf = b"conf",
    Cons = b"cons",
    Crst = b"crst",
    Dirs = b"dirs",
    Dump = b"dump",
    Envi = b"envi",
    Gtmk = b"gtmk",
    Hash = b"hash",
    Isro = b"isro",
    Mntr = b"mntr",
    Ruok = b"ruok",
    Srst = b"srst",
    Srvr = b"srvr",
    Stat = b"stat",
    Stmk = b"stmk",
    Wchc = b"wchc",
    Wchp = b"wchp",
    Wchs = b"wchs",
    TelnetClose = b"\xff\xf4\xff\xfd",
}
