"""IAM's errors, in its codes, statuses and sentences.

Source: IAM API reference, and AWS's answers as its users quote them.
"""

from __future__ import annotations

from opentrail.core.errors import ServiceFault


def no_such_entity(message: str) -> ServiceFault:
    """What the call names is not there."""
    return ServiceFault("NoSuchEntity", message, status=404)


def cannot_be_found(what: str, name: str) -> ServiceFault:
    """``what`` (``user``, ``role policy``) of this name is not there."""
    return no_such_entity(f"The {what} with name {name} cannot be found.")


def already_exists(message: str) -> ServiceFault:
    """A name is taken."""
    return ServiceFault("EntityAlreadyExists", message, status=409)


def quota_exceeded(quota: str, limit: int) -> ServiceFault:
    """There are as many as ``quota`` allows."""
    return ServiceFault("LimitExceeded", f"Cannot exceed quota for {quota}: {limit}", status=409)


def limit_exceeded(message: str) -> ServiceFault:
    """A limit that has a sentence of its own."""
    return ServiceFault("LimitExceeded", message, status=409)


def delete_conflict(message: str) -> ServiceFault:
    """Something hangs on what should go."""
    return ServiceFault("DeleteConflict", message, status=409)


def must_first(what: str) -> ServiceFault:
    """An entity on which something hangs: ``what`` says what to do first."""
    return delete_conflict(f"Cannot delete entity, must {what} first.")


def malformed(reason: str) -> ServiceFault:
    """A policy document that is none."""
    return ServiceFault("MalformedPolicyDocument", reason)


def invalid_input(message: str) -> ServiceFault:
    """A value that IAM cannot take."""
    return ServiceFault("InvalidInput", message)


def validation_error(message: str) -> ServiceFault:
    """A value that IAM's front end refuses."""
    return ServiceFault("ValidationError", message)
