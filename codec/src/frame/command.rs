//! The commands of EventMesh TCP: names and numbers (protocol manual, section 2).

use std::fmt;

macro_rules! commands {
    ($($variant:ident $name:literal,)*) => {
        /// What a frame asks for or answers. The number of a command is its place in this list, from 0.
        ///
        /// `ToServer` and `ToClient` say who receives it; requests and responses come in pairs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Command {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Command {
            /// All commands; the index is the number.
            pub const ALL: [Self; 37] = [$(Self::$variant,)*];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The command of a name on the wire; case matters.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

// A table of 37 rows that would otherwise be written three times.
commands! {
    HeartbeatRequest "HEARTBEAT_REQUEST",
    HeartbeatResponse "HEARTBEAT_RESPONSE",
    HelloRequest "HELLO_REQUEST",
    HelloResponse "HELLO_RESPONSE",
    ClientGoodbyeRequest "CLIENT_GOODBYE_REQUEST",
    ClientGoodbyeResponse "CLIENT_GOODBYE_RESPONSE",
    ServerGoodbyeRequest "SERVER_GOODBYE_REQUEST",
    ServerGoodbyeResponse "SERVER_GOODBYE_RESPONSE",
    SubscribeRequest "SUBSCRIBE_REQUEST",
    SubscribeResponse "SUBSCRIBE_RESPONSE",
    UnsubscribeRequest "UNSUBSCRIBE_REQUEST",
    UnsubscribeResponse "UNSUBSCRIBE_RESPONSE",
    ListenRequest "LISTEN_REQUEST",
    ListenResponse "LISTEN_RESPONSE",
    RequestToServer "REQUEST_TO_SERVER",
    RequestToClient "REQUEST_TO_CLIENT",
    RequestToClientAck "REQUEST_TO_CLIENT_ACK",
    ResponseToServer "RESPONSE_TO_SERVER",
    ResponseToClient "RESPONSE_TO_CLIENT",
    ResponseToClientAck "RESPONSE_TO_CLIENT_ACK",
    AsyncMessageToServer "ASYNC_MESSAGE_TO_SERVER",
    AsyncMessageToServerAck "ASYNC_MESSAGE_TO_SERVER_ACK",
    AsyncMessageToClient "ASYNC_MESSAGE_TO_CLIENT",
    AsyncMessageToClientAck "ASYNC_MESSAGE_TO_CLIENT_ACK",
    BroadcastMessageToServer "BROADCAST_MESSAGE_TO_SERVER",
    BroadcastMessageToServerAck "BROADCAST_MESSAGE_TO_SERVER_ACK",
    BroadcastMessageToClient "BROADCAST_MESSAGE_TO_CLIENT",
    BroadcastMessageToClientAck "BROADCAST_MESSAGE_TO_CLIENT_ACK",
    SysLogToLogserver "SYS_LOG_TO_LOGSERVER",
    TraceLogToLogserver "TRACE_LOG_TO_LOGSERVER",
    RedirectToClient "REDIRECT_TO_CLIENT",
    RegisterRequest "REGISTER_REQUEST",
    RegisterResponse "REGISTER_RESPONSE",
    UnregisterRequest "UNREGISTER_REQUEST",
    UnregisterResponse "UNREGISTER_RESPONSE",
    RecommendRequest "RECOMMEND_REQUEST",
    RecommendResponse "RECOMMEND_RESPONSE",
}

impl Command {
    /// The number on the wire (the Java enum's ordinal).
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The command of a number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The command that answers this one: a response to a request, an ack to a message. `None` where nothing
    /// answers (responses, acks, RESPONSE_TO_SERVER, REDIRECT_TO_CLIENT, the unused ones).
    pub const fn answer(self) -> Option<Self> {
        Some(match self {
            Self::HeartbeatRequest => Self::HeartbeatResponse,
            Self::HelloRequest => Self::HelloResponse,
            Self::ClientGoodbyeRequest => Self::ClientGoodbyeResponse,
            Self::ServerGoodbyeRequest => Self::ServerGoodbyeResponse,
            Self::SubscribeRequest => Self::SubscribeResponse,
            Self::UnsubscribeRequest => Self::UnsubscribeResponse,
            Self::ListenRequest => Self::ListenResponse,
            Self::RequestToServer => Self::ResponseToClient,
            Self::RequestToClient => Self::RequestToClientAck,
            Self::ResponseToClient => Self::ResponseToClientAck,
            Self::AsyncMessageToServer => Self::AsyncMessageToServerAck,
            Self::AsyncMessageToClient => Self::AsyncMessageToClientAck,
            Self::BroadcastMessageToServer => Self::BroadcastMessageToServerAck,
            Self::BroadcastMessageToClient => Self::BroadcastMessageToClientAck,
            Self::RegisterRequest => Self::RegisterResponse,
            Self::UnregisterRequest => Self::UnregisterResponse,
            Self::RecommendRequest => Self::RecommendResponse,
            _ => return None,
        })
    }

    /// Whether this is a client's ack of a push.
    pub const fn is_push_ack(self) -> bool {
        matches!(
            self,
            Self::RequestToClientAck
                | Self::ResponseToClientAck
                | Self::AsyncMessageToClientAck
                | Self::BroadcastMessageToClientAck
        )
    }
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_the_java_enum() {
        let anchors = [(0, "HEARTBEAT_REQUEST"), (8, "SUBSCRIBE_REQUEST"), (14, "REQUEST_TO_SERVER")];
        let more = [(20, "ASYNC_MESSAGE_TO_SERVER"), (27, "BROADCAST_MESSAGE_TO_CLIENT_ACK")];
        let last = [(30, "REDIRECT_TO_CLIENT"), (36, "RECOMMEND_RESPONSE")];
        for (number, name) in anchors.into_iter().chain(more).chain(last) {
            assert_eq!(Command::from_number(number).map(Command::name), Some(name));
        }
        assert_eq!(Command::from_number(37), None);
    }

    #[test]
    fn every_name_and_number_leads_back_to_its_command() {
        for (index, command) in Command::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(command.number()), index);
            assert_eq!(Command::from_name(command.name()), Some(command));
            assert_eq!(Command::from_name(&command.name().to_lowercase()), None);
        }
    }
}
