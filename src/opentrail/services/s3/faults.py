"""S3's errors, with the fields that S3 gives them.

Source: Amazon S3 API reference, "Error responses".
"""

from __future__ import annotations

from opentrail.core.errors import ServiceFault


def no_such_bucket(bucket: str) -> ServiceFault:
    """404 NoSuchBucket."""
    return ServiceFault(
        "NoSuchBucket", "The specified bucket does not exist", status=404, fields={"BucketName": bucket}
    )


def no_such_key(key: str) -> ServiceFault:
    """404 NoSuchKey."""
    return ServiceFault("NoSuchKey", "The specified key does not exist.", status=404, fields={"Key": key})


def access_denied(why: str = "Access Denied") -> ServiceFault:
    """403 AccessDenied."""
    return ServiceFault("AccessDenied", why, status=403)


def invalid_argument(message: str, name: str, value: object) -> ServiceFault:
    """400 InvalidArgument, which names the argument and shows its value."""
    return ServiceFault("InvalidArgument", message, fields={"ArgumentName": name, "ArgumentValue": str(value)})


def invalid_request(message: str) -> ServiceFault:
    """400 InvalidRequest."""
    return ServiceFault("InvalidRequest", message)


def not_implemented(header: str) -> ServiceFault:
    """501 NotImplemented for a header or parameter that asks for what is not there."""
    return ServiceFault(
        "NotImplemented",
        f"A header you provided implies functionality that is not implemented: {header}",
        status=501,
        fields={"Header": header},
    )


def precondition_failed(condition: str) -> ServiceFault:
    """412 PreconditionFailed; ``condition`` is the header's name."""
    return ServiceFault(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        status=412,
        fields={"Condition": condition},
    )


def malformed_xml() -> ServiceFault:
    """400 MalformedXML."""
    return ServiceFault(
        "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"
    )
