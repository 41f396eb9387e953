"""Sources by what a person calls them.

s3://bucket[/prefix]    gs://bucket[/prefix]    az://container[/prefix]    FILE.zip (evidence)    FOLDER

Behind a gs:// or az:// may stand options of the store, ``?name=value``, as ``stores.opening`` takes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentrail.core.errors import ConfigError
from opentrail.core.findings import Finding
from opentrail.core.public_keys import PublicKey
from opentrail.verification.copied_source import CopiedSource
from opentrail.verification.folder_source import FolderSource
from opentrail.verification.result import Span
from opentrail.verification.source import TrailSource

if TYPE_CHECKING:  # only for a bundle
    from opentrail.verification.bundle_source import BundleSource

_REMOTE_READS: Final = 32
_REMOTE: Final = ("gs", "az")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How to open a source; what is empty is as the environment says."""

    endpoint_url: str = ""
    profile: str = ""
    aws_region: str = ""
    is_signed: bool = True
    request_payer: str = ""
    original: str = ""  # BUCKET[/PREFIX]: the source is a copy of it
    metadata_lost: bool = False  # the source is a copy of it, made from files


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSource:
    """A source, and the prefix below which it is to be looked at."""

    source: TrailSource
    prefix: str = ""
    span: Span | None = None  # of a bundle: what it holds whole
    public_keys: tuple[PublicKey, ...] = ()  # that a bundle brings
    findings: Iterable[Finding] = ()  # about the bundle itself
    bundle: BundleSource | None = None  # what ``source`` is, or is around


def open_source(text: str, options: SourceOptions) -> OpenedSource:
    """Open what ``text`` names.  Raises ``ConfigError``, ``FormatError``."""
    scheme, colon, rest = text.partition("://")
    if not colon or scheme == "file":
        opened = _open_path(rest if colon else text)
        if options.metadata_lost and opened.source.keeps_metadata:
            where = f": {opened.source.sidecar}" if isinstance(opened.source, FolderSource) else ""
            raise ConfigError(f"--metadata-lost: {text} has the metadata of its objects{where}")
    else:
        rest, mark, query = rest.partition("?") if scheme in _REMOTE else (rest, "", "")
        bucket, _, prefix = rest.partition("/")
        if not bucket:
            raise ConfigError(f"{text}: write {scheme}://BUCKET[/PREFIX]")
        if prefix and not prefix.endswith("/"):
            prefix += "/"
        opened = OpenedSource(source=_open_bucket(text, scheme, bucket, mark + query, options), prefix=prefix)
    if not options.original:
        return opened
    bucket, _, original_prefix = options.original.removeprefix("s3://").partition("/")
    if original_prefix and not original_prefix.endswith("/"):
        original_prefix += "/"
    copied = CopiedSource(opened.source, prefix=opened.prefix, bucket=bucket, original_prefix=original_prefix)
    return replace(opened, source=copied, prefix=original_prefix)


def _open_path(text: str) -> OpenedSource:
    _check_path(text)
    if not Path(text).is_file():
        return OpenedSource(source=FolderSource(text))
    from opentrail.verification.bundle_source import BundleSource  # noqa: PLC0415  only for a bundle

    bundle = BundleSource(text)
    span = Span(start=bundle.header.start, end=bundle.header.end)
    keys = bundle.public_keys()
    return OpenedSource(source=bundle, span=span, public_keys=keys, findings=bundle.check(), bundle=bundle)


def _check_path(text: str) -> None:
    """Raises ``ConfigError``."""
    if not os.path.lexists(text):
        raise ConfigError(f"{text or 'SOURCE is empty'}: there is no such file or folder{_what_it_may_be(text)}")
    path = Path(text)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ConfigError(f"{text}: neither a folder nor a file; what a pipe or a device holds is to be copied first")


def _what_it_may_be(text: str) -> str:
    """How to write what ``text`` seems to be, which is no path; "" if it is like nothing else."""
    from opentrail.verification.s3_hosts import is_bucket_name  # noqa: PLC0415  only for a mistake

    if text.startswith("arn:"):
        service, name = text.split(":", 3)[2:3], text.rpartition(":")[2]
        if service == ["cloudtrail"]:
            return ": SOURCE is where the trail lies, s3://BUCKET[/PREFIX], with --trail-arn for that trail alone"
        return f": a bucket is s3://{name}" if service == ["s3"] and name else ""
    is_bucket = is_bucket_name(text.partition("/")[0]) and not text.endswith(".zip")
    return f"; a bucket is s3://{text}" if is_bucket else ""


def _no_bucket(name: str) -> str:
    if name.startswith("arn:"):
        return "an access point is named by its alias (...-s3alias); --original-bucket names the bucket behind it"
    return f"{name!r} is no name of a bucket"


def _open_bucket(text: str, scheme: str, bucket: str, query: str, options: SourceOptions) -> TrailSource:
    if scheme == "s3":
        from opentrail.verification.s3_hosts import is_bucket_name  # noqa: PLC0415  only for a bucket
        from opentrail.verification.s3_settings import read_aws_settings  # noqa: PLC0415  the same
        from opentrail.verification.s3_source import S3Source  # noqa: PLC0415  the same

        if not is_bucket_name(bucket):
            raise ConfigError(f"{text}: {_no_bucket(bucket)}")
        if options.request_payer and not options.is_signed:
            raise ConfigError("--request-payer: who pays has to sign: leave --no-sign-request out")
        settings = read_aws_settings(
            service="s3",
            profile=options.profile,
            region=options.aws_region,
            endpoint_url=options.endpoint_url,
            is_signed=options.is_signed,
            request_payer=options.request_payer,
        )
        return S3Source(settings, bucket, name=text, keeps_metadata=not options.metadata_lost)
    if scheme in _REMOTE:
        from opentrail.stores.opening import open_store  # noqa: PLC0415  obstore costs its import
        from opentrail.verification.store_source import StoreSource  # noqa: PLC0415  the same

        opening = partial(open_store, f"{scheme}://{bucket}{query}")
        return StoreSource(
            opening,
            name=text,
            bucket=bucket,
            reads_at_once=_REMOTE_READS,
            keeps_metadata=not options.metadata_lost,
            has_hyphens=scheme != "az",
            has_threads=True,
        )
    raise ConfigError(f"{text}: a source is s3://, gs:// or az://, a folder, or an evidence bundle")
