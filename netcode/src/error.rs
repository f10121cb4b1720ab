//! Errors and reasons, by whose fault it was: the bytes, the peer, the caller.

use thiserror::Error;

use crate::crypto::CryptoError;

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $number:literal => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
        pub enum $name {
            $($(#[doc = $vdoc])* #[error($text)] $variant,)*
        }

        impl $name {
            /// Every value, in wire order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn wire(self) -> u8 {
                match self { $(Self::$variant => $number,)* }
            }

            /// From the number on the wire.
            #[must_use]
            pub const fn from_wire(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

wire_enum! {
    /// Why a connection was closed, as carried by a close frame.
    CloseReason {
        /// The application asked for it.
        Requested = 0 => "closed on request",
        /// The server is shutting down.
        ServerShutdown = 1 => "the server is shutting down",
        /// The peer sent authenticated packets that break the protocol.
        ProtocolError = 2 => "the peer broke the protocol",
        /// The zone had no room for another player.
        ZoneFull = 3 => "the zone is full",
        /// An operator or the game removed the player.
        Kicked = 4 => "removed by the server",
        /// The same character connected again elsewhere.
        Replaced = 5 => "replaced by a newer connection of the same character",
    }
}

wire_enum! {
    /// Why a server refused a HELLO.
    RefuseReason {
        /// The HELLO's protocol version is not spoken here.
        VersionMismatch = 1 => "the server speaks another protocol version",
        /// No key of this cluster opens the token: forged, damaged, or of another cluster.
        TokenInvalid = 2 => "the connect token was not issued by this cluster",
        /// The token's time is over.
        TokenExpired = 3 => "the connect token has expired",
        /// The token was used before.
        TokenUsed = 4 => "the connect token was used before",
        /// The token does not list this server.
        WrongServer = 5 => "the connect token is for another server",
        /// The token is for another server group.
        WrongGroup = 6 => "the connect token is for another server group",
        /// Every connection slot is taken.
        ServerFull = 7 => "the server is full",
        /// The server cannot remember another used token; try again later.
        Busy = 8 => "the server is too busy to take new connections",
        /// The two sides' channel tables differ.
        ChannelMismatch = 9 => "client and server were built with different channel tables",
        /// The two sides' schemas differ.
        SchemaMismatch = 10 => "client and server were built with different schemas",
    }
}

/// Why a client's connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DisconnectReason {
    /// The server refused the handshake.
    #[error("refused: {0}")]
    Refused(RefuseReason),
    /// The handshake got no valid answer in time.
    #[error("no answer to the handshake in time")]
    HandshakeTimeout,
    /// No valid packet for the idle timeout.
    #[error("no packet for the idle timeout")]
    IdleTimeout,
    /// The peer closed the connection.
    #[error("closed by the peer: {0}")]
    ByPeer(CloseReason),
    /// This side closed the connection.
    #[error("closed by this side: {0}")]
    Local(CloseReason),
}

/// The caller used an endpoint wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The channel's queue cannot take the message now.
    #[error("the channel's queue is full: {free} bytes are free")]
    Full {
        /// Bytes that would fit.
        free: usize,
    },
    /// The message is longer than the channel (or a packet) allows.
    #[error("the message is longer than the channel's limit of {limit} bytes")]
    TooLong {
        /// The channel's limit.
        limit: usize,
    },
    /// The table has no such channel, or its kind does not take messages.
    #[error("channel {0} does not take messages")]
    NoSuchChannel(u8),
    /// There is no established connection.
    #[error("there is no established connection")]
    NotConnected,
    /// A block of no bytes.
    #[error("a block has at least one byte")]
    EmptyBlock,
}

/// A bundle or configuration from which no connection can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// The client's randomness failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The channel table breaks its own rules.
    #[error("the channel table breaks its own rules")]
    BadChannelTable,
}
