//! Every command of the door: its name, how many arguments it takes, what it does to what, and where its keys are. What
//! carries it out is the node's; `COMMAND` and the metrics go by this table, too.

use super::request::Args;

/// What a command does, as `COMMAND` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// Changes values.
    pub const WRITE: Flags = Flags(1);
    /// Only looks at values.
    pub const READONLY: Flags = Flags(1 << 1);
    /// May need more memory: refused when it is full.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// Takes about as long whatever there is.
    pub const FAST: Flags = Flags(1 << 3);
    /// About messages.
    pub const PUBSUB: Flags = Flags(1 << 4);
    /// Allowed before somebody has said who they are.
    pub const NO_AUTH: Flags = Flags(1 << 5);
    /// Never queued by `MULTI`: takes effect at once.
    pub const NOW: Flags = Flags(1 << 6);
    /// Allowed to a subscriber that speaks RESP2.
    pub const SUBSCRIBED: Flags = Flags(1 << 7);
    /// About the node itself.
    pub const ADMIN: Flags = Flags(1 << 8);

    /// None.
    const NONE: Flags = Flags(0);

    const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of these are among them.
    #[must_use]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those that Redis has, by the names that it has for them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let names = [
            (Flags::WRITE, "write"),
            (Flags::READONLY, "readonly"),
            (Flags::DENYOOM, "denyoom"),
            (Flags::ADMIN, "admin"),
            (Flags::FAST, "fast"),
            (Flags::PUBSUB, "pubsub"),
            (Flags::NO_AUTH, "no_auth"),
        ];
        names.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

/// Where a command's keys are among its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// The first; 0: it has none.
    pub first: u8,
    /// The last; negative: counted from the end.
    pub last: i8,
    /// From one to the next.
    pub step: u8,
}

const NO_KEYS: Keys = Keys { first: 0, last: 0, step: 0 };
const ONE: Keys = Keys { first: 1, last: 1, step: 1 };
const TWO: Keys = Keys { first: 1, last: 2, step: 1 };
const ALL: Keys = Keys { first: 1, last: -1, step: 1 };
const PAIRS: Keys = Keys { first: 1, last: -1, step: 2 };

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Values.
    String,
    /// Keys, whatever their values.
    Generic,
    /// Several commands as one.
    Transactions,
    /// Messages.
    Pubsub,
    /// The connection.
    Connection,
    /// The node.
    Server,
}

impl Group {
    /// As `COMMAND DOCS` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Group::String => "string",
            Group::Generic => "generic",
            Group::Transactions => "transactions",
            Group::Pubsub => "pubsub",
            Group::Connection => "connection",
            Group::Server => "server",
        }
    }
}

/// A command.
#[derive(Debug)]
pub struct Command {
    /// Which.
    pub verb: Verb,
    /// Its name, in lower case.
    pub name: &'static str,
    /// How many arguments, its name among them; negative: at least so many.
    pub arity: i8,
    /// What it does.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: Keys,
    /// What it is about.
    pub group: Group,
    /// The version of Redis that had it first.
    pub since: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
}

impl Command {
    /// Whether it takes so many arguments, its name among them.
    #[must_use]
    pub fn takes(&self, len: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { len >= arity } else { len == arity }
    }

    /// The keys among these arguments.
    pub fn keys<'a>(&self, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let last = match self.keys.last {
            last if last < 0 => args.len().saturating_sub(usize::from(last.unsigned_abs())),
            last => usize::from(last.unsigned_abs()).min(args.len().saturating_sub(1)),
        };
        let first = usize::from(self.keys.first);
        let range = if first == 0 { 1..1 } else { first..last + 1 };
        range.step_by(usize::from(self.keys.step).max(1)).map(move |at| args.at(at))
    }
}

macro_rules! commands {
    ($($verb:ident $name:literal $arity:literal [$($flag:ident)*] $keys:ident $group:ident $since:literal $summary:literal;)*) => {
        /// The commands by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Verb { $(#[doc = $summary] $verb,)* }

        /// All of them, in the order of [`Verb`].
        pub static COMMANDS: [Command; Verb::COUNT] = [$(Command {
            verb: Verb::$verb,
            name: $name,
            arity: $arity,
            flags: Flags::NONE$(.and(Flags::$flag))*,
            keys: $keys,
            group: Group::$group,
            since: $since,
            summary: $summary,
        },)*];

        /// Their names, in the order of [`Verb`].
        pub static NAMES: [&str; Verb::COUNT] = [$($name,)*];

        impl Verb {
            /// How many there are.
            pub const COUNT: usize = [$($name,)*].len();
        }

        const PACKED: [u128; Verb::COUNT] = [$(pack($name.as_bytes()),)*];
    };
}

commands! {
    Append "append" 3 [WRITE DENYOOM FAST] ONE String "2.0.0" "Appends to a value, or makes it.";
    Decr "decr" 2 [WRITE DENYOOM FAST] ONE String "1.0.0" "Counts a value down by one.";
    DecrBy "decrby" 3 [WRITE DENYOOM FAST] ONE String "1.0.0" "Counts a value down.";
    Get "get" 2 [READONLY FAST] ONE String "1.0.0" "Reads a value.";
    GetDel "getdel" 2 [WRITE FAST] ONE String "6.2.0" "Reads a value and deletes it.";
    GetEx "getex" -2 [WRITE FAST] ONE String "6.2.0" "Reads a value and sets its lifetime.";
    GetRange "getrange" 4 [READONLY] ONE String "2.4.0" "Reads a part of a value.";
    GetSet "getset" 3 [WRITE DENYOOM FAST] ONE String "1.0.0" "Sets a value and answers the one before.";
    Incr "incr" 2 [WRITE DENYOOM FAST] ONE String "1.0.0" "Counts a value up by one.";
    IncrBy "incrby" 3 [WRITE DENYOOM FAST] ONE String "1.0.0" "Counts a value up.";
    IncrByFloat "incrbyfloat" 3 [WRITE DENYOOM FAST] ONE String "2.6.0" "Adds a number that need not be whole.";
    MGet "mget" -2 [READONLY FAST] ALL String "1.0.0" "Reads several values.";
    MSet "mset" -3 [WRITE DENYOOM] PAIRS String "1.0.1" "Sets several values at once.";
    MSetNx "msetnx" -3 [WRITE DENYOOM] PAIRS String "1.0.1" "Sets several values if none of them is there.";
    PSetEx "psetex" 4 [WRITE DENYOOM] ONE String "2.6.0" "Sets a value with a lifetime in milliseconds.";
    Set "set" -3 [WRITE DENYOOM] ONE String "1.0.0" "Sets a value.";
    SetEx "setex" 4 [WRITE DENYOOM] ONE String "2.0.0" "Sets a value with a lifetime in seconds.";
    SetNx "setnx" 3 [WRITE DENYOOM FAST] ONE String "1.0.0" "Sets a value if it is not there.";
    SetRange "setrange" 4 [WRITE DENYOOM] ONE String "2.2.0" "Writes over a part of a value.";
    StrLen "strlen" 2 [READONLY FAST] ONE String "2.2.0" "Answers how long a value is.";

    Copy "copy" -3 [WRITE DENYOOM] TWO Generic "6.2.0" "Copies a value to another key.";
    DbSize "dbsize" 1 [READONLY FAST] NO_KEYS Server "1.0.0" "Answers how many keys there are.";
    Del "del" -2 [WRITE] ALL Generic "1.0.0" "Deletes keys.";
    Exists "exists" -2 [READONLY FAST] ALL Generic "1.0.0" "Answers how many of these keys are there.";
    Expire "expire" -3 [WRITE FAST] ONE Generic "1.0.0" "Sets a lifetime in seconds.";
    ExpireAt "expireat" -3 [WRITE FAST] ONE Generic "1.2.0" "Sets the second at which a value ends.";
    ExpireTime "expiretime" 2 [READONLY FAST] ONE Generic "7.0.0" "Answers the second at which a value ends.";
    FlushAll "flushall" -1 [WRITE] NO_KEYS Server "1.0.0" "Deletes all keys of the namespace.";
    FlushDb "flushdb" -1 [WRITE] NO_KEYS Server "1.0.0" "Deletes all keys of the namespace.";
    Keys "keys" 2 [READONLY] NO_KEYS Generic "1.0.0" "Lists the keys that match a pattern.";
    Persist "persist" 2 [WRITE FAST] ONE Generic "2.2.0" "Takes a value's lifetime away.";
    PExpire "pexpire" -3 [WRITE FAST] ONE Generic "2.6.0" "Sets a lifetime in milliseconds.";
    PExpireAt "pexpireat" -3 [WRITE FAST] ONE Generic "2.6.0" "Sets the millisecond at which a value ends.";
    PExpireTime "pexpiretime" 2 [READONLY FAST] ONE Generic "7.0.0" "Answers the millisecond at which a value ends.";
    PTtl "pttl" 2 [READONLY FAST] ONE Generic "2.6.0" "Answers how long a value has, in milliseconds.";
    RandomKey "randomkey" 1 [READONLY] NO_KEYS Generic "1.0.0" "Answers some key.";
    Rename "rename" 3 [WRITE] TWO Generic "1.0.0" "Moves a value to another key.";
    RenameNx "renamenx" 3 [WRITE FAST] TWO Generic "1.0.0" "Moves a value to a key that is not there.";
    Scan "scan" -2 [READONLY] NO_KEYS Generic "2.8.0" "Lists keys, some at a time.";
    Touch "touch" -2 [READONLY FAST] ALL Generic "3.2.1" "Answers how many of these keys are there.";
    Ttl "ttl" 2 [READONLY FAST] ONE Generic "1.0.0" "Answers how long a value has, in seconds.";
    Type "type" 2 [READONLY FAST] ONE Generic "1.0.0" "Answers what kind of value a key has.";
    Unlink "unlink" -2 [WRITE FAST] ALL Generic "4.0.0" "Deletes keys.";

    Discard "discard" 1 [FAST NOW] NO_KEYS Transactions "2.0.0" "Forgets what MULTI queued.";
    Exec "exec" 1 [NOW] NO_KEYS Transactions "1.2.0" "Carries out what MULTI queued, all at once.";
    Multi "multi" 1 [FAST NOW] NO_KEYS Transactions "1.2.0" "Queues the commands that follow.";
    Unwatch "unwatch" 1 [FAST] NO_KEYS Transactions "2.2.0" "Forgets the keys that WATCH named.";
    Watch "watch" -2 [FAST NOW] ALL Transactions "2.2.0" "Lets EXEC do nothing if one of these keys changes before it.";

    PSubscribe "psubscribe" -2 [PUBSUB SUBSCRIBED] NO_KEYS Pubsub "2.0.0" "Listens to channels by pattern.";
    Publish "publish" 3 [PUBSUB FAST] NO_KEYS Pubsub "2.0.0" "Sends a message to a channel.";
    PubSub "pubsub" -2 [PUBSUB] NO_KEYS Pubsub "2.8.0" "Answers who listens to what.";
    PUnsubscribe "punsubscribe" -1 [PUBSUB SUBSCRIBED] NO_KEYS Pubsub "2.0.0" "Ends listening by pattern.";
    Subscribe "subscribe" -2 [PUBSUB SUBSCRIBED] NO_KEYS Pubsub "2.0.0" "Listens to channels.";
    Unsubscribe "unsubscribe" -1 [PUBSUB SUBSCRIBED] NO_KEYS Pubsub "2.0.0" "Ends listening.";

    Auth "auth" -2 [FAST NO_AUTH] NO_KEYS Connection "1.0.0" "Says who one is: a token's id, and the token.";
    Client "client" -2 [] NO_KEYS Connection "2.4.0" "About connections.";
    Echo "echo" 2 [FAST] NO_KEYS Connection "1.0.0" "Answers its argument.";
    Hello "hello" -1 [FAST NO_AUTH] NO_KEYS Connection "6.0.0" "Chooses the protocol, and says who one is.";
    Ping "ping" -1 [FAST SUBSCRIBED] NO_KEYS Connection "1.0.0" "Answers PONG, or its argument.";
    Quit "quit" -1 [FAST NO_AUTH NOW SUBSCRIBED] NO_KEYS Connection "1.0.0" "Closes the connection.";
    Reset "reset" 1 [FAST NO_AUTH NOW SUBSCRIBED] NO_KEYS Connection "6.2.0" "Makes the connection as new.";
    Select "select" 2 [FAST] NO_KEYS Connection "1.0.0" "Chooses database 0, the only one.";

    CommandTable "command" -1 [] NO_KEYS Server "2.8.13" "About commands.";
    Config "config" -2 [ADMIN] NO_KEYS Server "2.0.0" "Reads how the door is set.";
    Info "info" -1 [] NO_KEYS Server "1.0.0" "Tells how the node is.";
    Time "time" 1 [FAST] NO_KEYS Server "2.6.0" "Answers the node's time.";
}

/// Longest name that is looked for, in bytes.
const NAME_LEN_MAX: usize = 16;

/// Places of the index: several for each command, so that most names are found at once.
const PLACES: usize = 512;

const NOBODY: u8 = u8::MAX;

static INDEX: [u8; PLACES] = index();

/// A name as one number. Names here are short, in lower case, and have no zero in them.
const fn pack(name: &[u8]) -> u128 {
    assert!(name.len() <= NAME_LEN_MAX, "a name that cannot be looked up");
    let mut packed = 0;
    let mut at = name.len();
    while at > 0 {
        at -= 1;
        packed = packed << 8 | name[at] as u128;
    }
    packed
}

const fn place(packed: u128) -> usize {
    let folded = packed as u64 ^ ((packed >> 64) as u64).rotate_left(29);
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize % PLACES
}

const fn index() -> [u8; PLACES] {
    assert!(Verb::COUNT < NOBODY as usize, "more commands than a byte counts");
    let mut index = [NOBODY; PLACES];
    let mut command = 0;
    while command < Verb::COUNT {
        let mut at = place(PACKED[command]);
        while index[at] != NOBODY {
            at = (at + 1) % PLACES;
        }
        index[at] = command as u8;
        command += 1;
    }
    index
}

impl Verb {
    /// The command of this name, in whatever case.
    #[must_use]
    pub fn find(name: &[u8]) -> Option<Verb> {
        if name.len() > NAME_LEN_MAX {
            return None;
        }
        let mut bytes = [0; NAME_LEN_MAX];
        bytes[..name.len()].copy_from_slice(name);
        bytes.make_ascii_lowercase();
        let packed = u128::from_le_bytes(bytes);
        let mut at = place(packed);
        loop {
            let found = usize::from(INDEX[at]);
            match PACKED.get(found) {
                None => return None,
                Some(other) if *other == packed && COMMANDS[found].name.len() == name.len() => {
                    return Some(COMMANDS[found].verb);
                }
                Some(_) => at = (at + 1) % PLACES,
            }
        }
    }

    /// What there is to know of it.
    #[must_use]
    pub fn command(self) -> &'static Command {
        &COMMANDS[self as usize]
    }

    /// Its name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.command().name
    }

    /// Its second words, where it has some.
    #[must_use]
    pub fn words(self) -> &'static [Word] {
        match self {
            Verb::Client => CLIENT,
            Verb::CommandTable => COMMAND,
            Verb::Config => CONFIG,
            Verb::PubSub => PUBSUB,
            _ => &[],
        }
    }
}

/// The second word of a command that has several meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// In lower case.
    pub name: &'static str,
    /// As [`Command::arity`].
    pub arity: i8,
    /// What follows it, as `HELP` shows it.
    pub form: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
}

impl Word {
    /// Whether it takes so many arguments, both words among them.
    #[must_use]
    pub fn takes(&self, len: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { len >= arity } else { len == arity }
    }
}

const fn word(name: &'static str, arity: i8, form: &'static str, summary: &'static str) -> Word {
    Word { name, arity, form, summary }
}

const CLIENT: &[Word] = &[
    word("getname", 2, "", "The name that SETNAME gave this connection."),
    word("getredir", 2, "", "-1: nothing is tracked here."),
    word("help", 2, "", "This text."),
    word("id", 2, "", "The number of this connection."),
    word("info", 2, "", "What is known of this connection."),
    word(
        "kill",
        -3,
        "address | [ID id] [ADDR address] [LADDR address] [TYPE normal|pubsub] [USER name] [SKIPME yes|no]",
        "Ends connections of the same user.",
    ),
    word("list", -2, "[TYPE normal|pubsub] [ID id ...]", "What is known of all connections."),
    word("no-evict", 3, "ON|OFF", "Taken and without effect: connections are not evicted here."),
    word("no-touch", 3, "ON|OFF", "Taken and without effect: reads do not change what is kept here."),
    word("reply", 3, "ON|OFF|SKIP", "Whether answers are sent."),
    word("setinfo", 4, "LIB-NAME|LIB-VER value", "Names the library that this client uses."),
    word("setname", 3, "name", "Gives this connection a name."),
];

const COMMAND: &[Word] = &[
    word("count", 2, "", "How many commands there are."),
    word("docs", -2, "[name ...]", "What commands do."),
    word("getkeys", -3, "command [argument ...]", "The keys among a command's arguments."),
    word("help", 2, "", "This text."),
    word("info", -2, "[name ...]", "What commands take."),
    word("list", -2, "", "The names of all commands."),
];

const CONFIG: &[Word] = &[
    word("get", -3, "pattern ...", "What is set, by the names that Redis has for it."),
    word("help", 2, "", "This text."),
    word("resetstat", 2, "", "Refused: counters here are for everybody and only rise."),
    word("set", -4, "name value ...", "Refused, but for what is so already: settings are the operator's."),
];

const PUBSUB: &[Word] = &[
    word("channels", -2, "[pattern]", "Channels with subscribers."),
    word("help", 2, "", "This text."),
    word("numpat", 2, "", "How many patterns somebody is subscribed to."),
    word("numsub", -2, "[channel ...]", "How many subscribers channels have."),
];

#[cfg(test)]
mod tests {
    use super::super::request::Span;
    use super::*;

    #[test]
    fn each_command_is_found_by_its_name_in_any_case() {
        for (at, command) in COMMANDS.iter().enumerate() {
            assert_eq!(command.verb as usize, at);
            assert_eq!(NAMES[at], command.name);
            assert_eq!(Verb::find(command.name.as_bytes()), Some(command.verb), "{}", command.name);
            assert_eq!(Verb::find(command.name.to_uppercase().as_bytes()), Some(command.verb));
            assert_eq!(command.verb.command().name, command.name);
        }
        for bad in ["", "ge", "gett", "get\0", "0123456789abcdef0", "g\u{e9}t"] {
            assert_eq!(Verb::find(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn counts_and_keys_go_by_the_table() {
        let spans: Vec<Span> = (0..5).map(|at| Span::new(at, at + 1)).collect();
        let args = |len: usize| Args::new(b"nabcd", &spans[..len]);
        let keys = |verb: Verb, len: usize| -> Vec<u8> {
            verb.command().keys(args(len)).map(|key| key[0]).collect()
        };
        assert_eq!(keys(Verb::Get, 2), b"a");
        assert_eq!(keys(Verb::Del, 4), b"abc");
        assert_eq!(keys(Verb::MSet, 5), b"ac");
        assert_eq!(keys(Verb::Copy, 5), b"ab");
        assert_eq!(keys(Verb::Scan, 3), b"");
        assert_eq!(keys(Verb::Copy, 2), b"a", "too few are no reason to panic");
        assert_eq!(keys(Verb::Get, 1), b"");
        assert!(Verb::Get.command().takes(2) && !Verb::Get.command().takes(3));
        assert!(Verb::Set.command().takes(9) && !Verb::Set.command().takes(2));
    }
}
