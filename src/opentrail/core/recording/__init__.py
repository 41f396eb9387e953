"""Recording: how a call and its outcome become the record that AWS would have written."""

from opentrail.core.recording.elements import format_java_date
from opentrail.core.recording.identities import describe_identity
from opentrail.core.recording.record import MAX_EVENT_BYTES, build_event, encode_record, error_code, without_outcome
from opentrail.core.recording.rules import RecordRules, parse_rules
from opentrail.core.recording.sharing import Recipient, choose_recipient, shared_copy

__all__ = [
    "MAX_EVENT_BYTES",
    "Recipient",
    "RecordRules",
    "build_event",
    "choose_recipient",
    "describe_identity",
    "encode_record",
    "error_code",
    "format_java_date",
    "parse_rules",
    "shared_copy",
    "without_outcome",
]
