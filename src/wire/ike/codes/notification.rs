//! The code points of notifications.

code_points! {
    /// What a notification says (RFC 7296 section 3.10.1). Below 16384: an error; from there on: a status.
    NotifyType(u16) {
        /// A payload of the request was critical and not known; data: its type, 1 byte (RFC 7296 section 2.5).
        UNSUPPORTED_CRITICAL_PAYLOAD = 1, "UNSUPPORTED_CRITICAL_PAYLOAD";
        /// The IKE SPIs of a message belong to no IKE SA (RFC 7296 section 2.21.4).
        INVALID_IKE_SPI = 4, "INVALID_IKE_SPI";
        /// The header's major version is not spoken here (RFC 7296 section 2.5).
        INVALID_MAJOR_VERSION = 5, "INVALID_MAJOR_VERSION";
        /// The message is malformed, or a value in it out of range (RFC 7296 section 2.21).
        INVALID_SYNTAX = 7, "INVALID_SYNTAX";
        /// A message id lay outside the window; data: that id, 4 bytes. Never sent in a response (RFC 7296 section
        /// 2.3).
        INVALID_MESSAGE_ID = 9, "INVALID_MESSAGE_ID";
        /// An ESP or AH packet had an unknown SPI; data: that SPI (RFC 7296 section 1.5).
        INVALID_SPI = 11, "INVALID_SPI";
        /// None of the proposals is acceptable (RFC 7296 section 2.7).
        NO_PROPOSAL_CHOSEN = 14, "NO_PROPOSAL_CHOSEN";
        /// The Key Exchange payload is of another group than the chosen one; data: that one, 2 bytes (RFC 7296 section
        /// 1.2).
        INVALID_KE_PAYLOAD = 17, "INVALID_KE_PAYLOAD";
        /// The peer's AUTH payload is wrong, or its identity not accepted (RFC 7296 section 2.21.2).
        AUTHENTICATION_FAILED = 24, "AUTHENTICATION_FAILED";
        /// Only a pair of single selectors is accepted in one Child SA (RFC 7296 section 2.9).
        SINGLE_PAIR_REQUIRED = 34, "SINGLE_PAIR_REQUIRED";
        /// The IKE SA takes no more Child SAs (RFC 7296 section 1.3).
        NO_ADDITIONAL_SAS = 35, "NO_ADDITIONAL_SAS";
        /// No internal address can be assigned (RFC 7296 section 2.19).
        INTERNAL_ADDRESS_FAILURE = 36, "INTERNAL_ADDRESS_FAILURE";
        /// The request should have had a Configuration payload (RFC 7296 section 2.19).
        FAILED_CP_REQUIRED = 37, "FAILED_CP_REQUIRED";
        /// None of the traffic selectors is acceptable (RFC 7296 section 2.9).
        TS_UNACCEPTABLE = 38, "TS_UNACCEPTABLE";
        /// A packet came whose addresses, ports or protocol the SA's selectors do not hold; data: its beginning (RFC
        /// 7296 section 3.10.1).
        INVALID_SELECTORS = 39, "INVALID_SELECTORS";
        /// The new addresses of an IKE SA are not accepted (RFC 4555).
        UNACCEPTABLE_ADDRESSES = 40, "UNACCEPTABLE_ADDRESSES";
        /// A NAT stands on a path that was to have none (RFC 4555).
        UNEXPECTED_NAT_DETECTED = 41, "UNEXPECTED_NAT_DETECTED";
        /// A mobile node must use the home address that it was assigned (RFC 5026).
        USE_ASSIGNED_HOA = 42, "USE_ASSIGNED_HoA";
        /// The request collides with something under way and may be tried again later (RFC 7296 section 2.25).
        TEMPORARY_FAILURE = 43, "TEMPORARY_FAILURE";
        /// The Child SA to be rekeyed does not exist (RFC 7296 section 2.25).
        CHILD_SA_NOT_FOUND = 44, "CHILD_SA_NOT_FOUND";
        /// The group is not known, in group key management (RFC 9838).
        INVALID_GROUP_ID = 45, "INVALID_GROUP_ID";
        /// The peer may not join the group, in group key management (RFC 9838).
        AUTHORIZATION_FAILED = 46, "AUTHORIZATION_FAILED";
        /// The state that an IKE_FOLLOWUP_KE exchange refers to is gone (RFC 9370).
        STATE_NOT_FOUND = 47, "STATE_NOT_FOUND";
        /// No more Child SAs with the same selectors are accepted (RFC 9611).
        TS_MAX_QUEUE = 48, "TS_MAX_QUEUE";
        /// This IKE SA is the sender's only one with the receiver (RFC 7296 section 2.4).
        INITIAL_CONTACT = 16384, "INITIAL_CONTACT";
        /// How many requests the sender takes at a time; data: the number, 4 bytes (RFC 7296 section 2.3).
        SET_WINDOW_SIZE = 16385, "SET_WINDOW_SIZE";
        /// The selectors were narrowed, and others would have been acceptable too, in a Child SA of their own (RFC 7296
        /// section 2.9).
        ADDITIONAL_TS_POSSIBLE = 16386, "ADDITIONAL_TS_POSSIBLE";
        /// The sender can compress; data: its CPI, 2 bytes, and the algorithm (RFC 7296 section 2.22).
        IPCOMP_SUPPORTED = 16387, "IPCOMP_SUPPORTED";
        /// SHA-1 over both SPIs, address and port that the message is sent from, 20 bytes (RFC 7296 section 2.23).
        NAT_DETECTION_SOURCE_IP = 16388, "NAT_DETECTION_SOURCE_IP";
        /// SHA-1 over both SPIs, address and port that the message is sent to, 20 bytes (RFC 7296 section 2.23).
        NAT_DETECTION_DESTINATION_IP = 16389, "NAT_DETECTION_DESTINATION_IP";
        /// Bytes, 1 to 64, that an initiator has to repeat before a busy responder keeps any state (RFC 7296 section
        /// 2.6).
        COOKIE = 16390, "COOKIE";
        /// The Child SA is to be one in transport mode (RFC 7296 section 1.3.1).
        USE_TRANSPORT_MODE = 16391, "USE_TRANSPORT_MODE";
        /// The sender fetches certificates from URLs (RFC 7296 section 3.6).
        HTTP_CERT_LOOKUP_SUPPORTED = 16392, "HTTP_CERT_LOOKUP_SUPPORTED";
        /// The exchange replaces the Child SA that protocol and SPI name (RFC 7296 section 1.3.3).
        REKEY_SA = 16393, "REKEY_SA";
        /// The sender takes no padding for traffic flow confidentiality (RFC 7296 section 1.3.1).
        ESP_TFC_PADDING_NOT_SUPPORTED = 16394, "ESP_TFC_PADDING_NOT_SUPPORTED";
        /// The Child SA carries later fragments, which show no ports, as well (RFC 7296 section 1.3.1).
        NON_FIRST_FRAGMENTS_ALSO = 16395, "NON_FIRST_FRAGMENTS_ALSO";
        /// The sender can move an IKE SA to other addresses (RFC 4555).
        MOBIKE_SUPPORTED = 16396, "MOBIKE_SUPPORTED";
        /// A further address of the sender; data: 4 bytes (RFC 4555).
        ADDITIONAL_IP4_ADDRESS = 16397, "ADDITIONAL_IP4_ADDRESS";
        /// A further address of the sender; data: 16 bytes (RFC 4555).
        ADDITIONAL_IP6_ADDRESS = 16398, "ADDITIONAL_IP6_ADDRESS";
        /// The sender has no address but the one in use (RFC 4555).
        NO_ADDITIONAL_ADDRESSES = 16399, "NO_ADDITIONAL_ADDRESSES";
        /// The SAs move to the addresses that the request came from and went to (RFC 4555).
        UPDATE_SA_ADDRESSES = 16400, "UPDATE_SA_ADDRESSES";
        /// Bytes, 8 to 64, that the response must repeat, so that the path both ways is known to work (RFC 4555).
        COOKIE2 = 16401, "COOKIE2";
        /// The addresses and ports that the request was sent between, which no NAT may have changed (RFC 4555).
        NO_NATS_ALLOWED = 16402, "NO_NATS_ALLOWED";
        /// The initiator must reauthenticate within this time; data: seconds, 4 bytes (RFC 4478).
        AUTH_LIFETIME = 16403, "AUTH_LIFETIME";
        /// The sender can authenticate more than once in one IKE_AUTH (RFC 4739).
        MULTIPLE_AUTH_SUPPORTED = 16404, "MULTIPLE_AUTH_SUPPORTED";
        /// The sender will authenticate once more (RFC 4739).
        ANOTHER_AUTH_FOLLOWS = 16405, "ANOTHER_AUTH_FOLLOWS";
        /// The initiator can be sent to another gateway (RFC 5685).
        REDIRECT_SUPPORTED = 16406, "REDIRECT_SUPPORTED";
        /// The initiator is to use another gateway; data: which one (RFC 5685).
        REDIRECT = 16407, "REDIRECT";
        /// The initiator was sent here; data: by which gateway (RFC 5685).
        REDIRECTED_FROM = 16408, "REDIRECTED_FROM";
        /// A ticket for resumption; data: its lifetime in seconds, 4 bytes, and the ticket (RFC 5723).
        TICKET_LT_OPAQUE = 16409, "TICKET_LT_OPAQUE";
        /// The initiator asks for a ticket for resumption (RFC 5723).
        TICKET_REQUEST = 16410, "TICKET_REQUEST";
        /// A ticket will be given later (RFC 5723).
        TICKET_ACK = 16411, "TICKET_ACK";
        /// No ticket is given, or the one presented is refused (RFC 5723).
        TICKET_NACK = 16412, "TICKET_NACK";
        /// The ticket with which an IKE SA is to be resumed (RFC 5723).
        TICKET_OPAQUE = 16413, "TICKET_OPAQUE";
        /// Identifies the virtual link of an IPv6 client (RFC 5739).
        LINK_ID = 16414, "LINK_ID";
        /// ESP is to be wrapped, so that middleboxes can look into it (RFC 5840).
        USE_WESP_MODE = 16415, "USE_WESP_MODE";
        /// Parameters of header compression on the Child SA (RFC 5857).
        ROHC_SUPPORTED = 16416, "ROHC_SUPPORTED";
        /// The initiator is content with EAP for both ends (RFC 5998).
        EAP_ONLY_AUTHENTICATION = 16417, "EAP_ONLY_AUTHENTICATION";
        /// The responder takes an IKE_AUTH without a Child SA (RFC 6023).
        CHILDLESS_IKEV2_SUPPORTED = 16418, "CHILDLESS_IKEV2_SUPPORTED";
        /// A token that proves, after a crash, that its sender has lost the IKE SA (RFC 6290).
        QUICK_CRASH_DETECTION = 16419, "QUICK_CRASH_DETECTION";
        /// The sender can synchronise message ids after a failover (RFC 6311).
        IKEV2_MESSAGE_ID_SYNC_SUPPORTED = 16420, "IKEV2_MESSAGE_ID_SYNC_SUPPORTED";
        /// The sender can synchronise sequence numbers after a failover (RFC 6311).
        IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED = 16421, "IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED";
        /// The message ids to go on with after a failover (RFC 6311).
        IKEV2_MESSAGE_ID_SYNC = 16422, "IKEV2_MESSAGE_ID_SYNC";
        /// By how much sequence numbers jump after a failover (RFC 6311).
        IPSEC_REPLAY_COUNTER_SYNC = 16423, "IPSEC_REPLAY_COUNTER_SYNC";
        /// The sender takes and sends fragmented messages (RFC 7383).
        IKEV2_FRAGMENTATION_SUPPORTED = 16430, "IKEV2_FRAGMENTATION_SUPPORTED";
        /// Hashes that the sender can verify signatures with; data: 2 bytes each (RFC 7427).
        SIGNATURE_HASH_ALGORITHMS = 16431, "SIGNATURE_HASH_ALGORITHMS";
        /// A puzzle that the initiator has to solve before it is served (RFC 8019).
        PUZZLE = 16434, "PUZZLE";
        /// The sender can mix a post-quantum pre-shared key into the keys (RFC 8784).
        USE_PPK = 16435, "USE_PPK";
        /// Which post-quantum pre-shared key is used (RFC 8784).
        PPK_IDENTITY = 16436, "PPK_IDENTITY";
        /// An AUTH for a responder that does not have the post-quantum pre-shared key (RFC 8784).
        NO_PPK_AUTH = 16437, "NO_PPK_AUTH";
        /// The sender can do IKE_INTERMEDIATE exchanges (RFC 9242).
        INTERMEDIATE_EXCHANGE_SUPPORTED = 16438, "INTERMEDIATE_EXCHANGE_SUPPORTED";
        /// An internal address of IPv4 may be asked for (RFC 8983).
        IP4_ALLOWED = 16439, "IP4_ALLOWED";
        /// An internal prefix of IPv6 may be asked for (RFC 8983).
        IP6_ALLOWED = 16440, "IP6_ALLOWED";
        /// Ties an IKE_FOLLOWUP_KE exchange to the one before it; data: chosen by the responder (RFC 9370).
        ADDITIONAL_KEY_EXCHANGE = 16441, "ADDITIONAL_KEY_EXCHANGE";
        /// The Child SA is to aggregate and fragment packets, as IP-TFS does (RFC 9347).
        USE_AGGFRAG = 16442, "USE_AGGFRAG";
        /// How the sender accepts that its peer authenticates (RFC 9593).
        SUPPORTED_AUTH_METHODS = 16443, "SUPPORTED_AUTH_METHODS";
        /// Which resource of the sender, such as a CPU, the Child SA is for (RFC 9611).
        SA_RESOURCE_INFO = 16444, "SA_RESOURCE_INFO";
        /// Of the types for private use: fills up a probe of the path MTU, and means nothing.
        PATH_PROBE = 61_453, "PATH_PROBE";
    }
}

impl NotifyType {
    /// Types below this are errors, the others are statuses (RFC 7296 section 3.10.1).
    const FIRST_STATUS: u16 = 16384;

    /// Whether the notification reports an error, which makes the request that it answers a failed one.
    pub fn is_error(self) -> bool {
        self.0 < Self::FIRST_STATUS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_end_where_statuses_begin() {
        assert!(NotifyType::CHILD_SA_NOT_FOUND.is_error());
        assert!(NotifyType(16_383).is_error());
        assert!(!NotifyType::INITIAL_CONTACT.is_error());
    }
}
