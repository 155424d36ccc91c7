"""One bucket of an S3-compatible storage, as far as recordings need it: blocking calls, for threads of their own.

Nothing is tried again here, since who stores knows better when: a request that fails is a StoreError. What a
condition (If-None-Match, If-Match) refuses is a result. Credentials come from a file in the format of Amazon's
tools or from where those look; they are in no message and no log.
"""

import base64
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from interlock.core.errors import ConfigError, StoreError

CONNECT_S = 5.0
"""Seconds that a connection may take."""

SILENCE_S = 20.0
"""Seconds without a byte after which a request has failed."""

CONNECTIONS = 16
"""Connections kept to the storage at most: as many as there are threads."""

_PRECONDITION = 412
_MISSING = 404
_CONFLICT = 409
_SHA256 = "SHA256"


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """Where recordings are. Holds no secret."""

    bucket: str
    prefix: str = ""  # without slashes at its ends
    endpoint: str = ""  # URL of the storage; empty: Amazon's own for the region
    region: str = "us-east-1"
    credentials: str = (
        ""  # path of a file in the format of Amazon's tools; empty: environment, or where those look
    )
    path_style: bool = True  # the bucket in the path, which every storage understands

    @classmethod
    def parse(cls, store: str, *, endpoint: str, region: str, credentials: str, path_style: bool) -> "BucketPlace":
        """Read s3://bucket/prefix; ConfigError names the setting."""
        url = urlsplit(store)
        if url.scheme != "s3" or not url.hostname or url.netloc != url.hostname or url.query or url.fragment:
            raise ConfigError(f"recordings.store must be s3://BUCKET or s3://BUCKET/PREFIX, not {store[:100]!r}")
        where = urlsplit(endpoint)
        if endpoint and (where.scheme not in {"http", "https"} or not where.hostname or "@" in where.netloc):
            raise ConfigError("recordings.endpoint must be http://HOST[:PORT] or https://HOST[:PORT]")
        return cls(url.hostname, url.path.strip("/"), endpoint, region, credentials, path_style)

    @property
    def url(self) -> str:
        """As people write it."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True)
class Found:
    """What the storage says of an object."""

    size: int
    etag: str  # with its quotes, for conditions
    sha256: str  # as the storage made it of all parts, in base64; empty if it keeps none
    changed: datetime
    meta: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing says of an object."""

    key: str
    size: int
    changed: datetime


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of an object."""

    data: bytes
    total: int  # bytes of the whole object
    etag: str
    changed: datetime


@dataclass(frozen=True, slots=True)
class SentPart:
    """A part of an upload that is on the storage."""

    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class BegunUpload:
    """An upload in parts that nobody has finished."""

    key: str
    id: str
    begun: datetime


@dataclass(frozen=True, slots=True)
class Digests:
    """Of some bytes, raw."""

    md5: bytes
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Condition:
    """When an object may be written: there is none, or it is still the one with this tag."""

    etag: str = ""  # empty: there must be none

    def arguments(self) -> dict[str, str]:
        """As the library takes it."""
        return {"IfMatch": self.etag} if self.etag else {"IfNoneMatch": "*"}


class Bucket:
    """The calls. Every one raises StoreError if the storage is away, slow, or refuses."""

    def __init__(self, place: BucketPlace) -> None:
        """Connects to nothing; the first call takes a second, and is a ConfigError if there are no credentials."""
        self.place = place
        self._made: Any = None
        self._making = threading.Lock()

    @property
    def _client(self) -> Any:
        with self._making:
            if self._made is None:
                self._made = _client(self.place)
            return self._made

    def create(self) -> None:
        """Make the bucket itself; fine if it is there and ours."""
        _ask("create", self._client.create_bucket, _CONFLICT, Bucket=self.place.bucket)

    def head(self, key: str) -> Found | None:
        """What there is under this key."""
        answer = _ask("head", self._client.head_object, _MISSING, **self._at(key), ChecksumMode="ENABLED")
        if answer is None:
            return None
        return Found(
            answer["ContentLength"],
            answer["ETag"],
            answer.get("ChecksumSHA256", ""),
            answer["LastModified"],
            answer.get("Metadata", {}),
        )

    def get(self, key: str, start: int, size: int, *, etag: str = "") -> Piece | None:
        """At most ``size`` bytes from ``start`` on; None if there is none. StoreError if it has another tag."""
        wanted = {"IfMatch": etag} if etag else {}

        def fetch() -> Piece:
            answer = self._client.get_object(**self._at(key), Range=f"bytes={start}-{start + size - 1}", **wanted)
            total = int(answer["ContentRange"].rpartition("/")[2])
            with answer["Body"] as body:
                return Piece(body.read(), total, answer["ETag"], answer["LastModified"])

        found: Piece | None = _ask("get", fetch, _MISSING)
        return found

    def put(self, key: str, data: bytes, digests: Digests, meta: Mapping[str, str], condition: Condition) -> bool:
        """Write an object in one request; False if the condition does not hold."""
        answer = _ask(
            "put",
            self._client.put_object,
            _PRECONDITION,
            **self._at(key),
            Body=data,
            Metadata=dict(meta),
            **_sums(digests),
            **condition.arguments(),
        )
        return answer is not None

    def begin(self, key: str, meta: Mapping[str, str]) -> str:
        """Begin an upload in parts; its ID."""
        begin = self._client.create_multipart_upload
        answer = _insist("begin", begin, **self._at(key), Metadata=dict(meta), ChecksumAlgorithm=_SHA256)
        return str(answer["UploadId"])

    def part(self, key: str, upload: str, number: int, data: bytes, digests: Digests) -> str:
        """Send one part, numbered from 1; its tag."""
        where = {**self._at(key), "UploadId": upload, "PartNumber": number}
        return str(_insist("part", self._client.upload_part, **where, Body=data, **_sums(digests))["ETag"])

    def parts(self, key: str, upload: str) -> dict[int, SentPart]:
        """The parts that are there, by number."""
        pages = self._pages("list_parts", **self._at(key), UploadId=upload)
        return {
            each["PartNumber"]: SentPart(each["Size"], each["ETag"])
            for page in pages
            for each in page.get("Parts", ())
        }

    def finish(self, key: str, upload: str, parts: list[tuple[str, Digests]], condition: Condition) -> bool:
        """Make the object of its parts; False if the condition does not hold."""
        listed = [
            {"PartNumber": number, "ETag": etag, "ChecksumSHA256": _base64(digests.sha256)}
            for number, (etag, digests) in enumerate(parts, 1)
        ]
        answer = _ask(
            "finish",
            self._client.complete_multipart_upload,
            _PRECONDITION,
            **self._at(key),
            UploadId=upload,
            MultipartUpload={"Parts": listed},
            **condition.arguments(),
        )
        return answer is not None

    def abort(self, key: str, upload: str) -> None:
        """Give an upload in parts up; fine if it is gone."""
        _ask("abort", self._client.abort_multipart_upload, _MISSING, **self._at(key), UploadId=upload)

    def uploads(self, prefix: str) -> list[BegunUpload]:
        """Uploads in parts of keys that begin so, which nobody has finished."""
        pages = self._pages("list_multipart_uploads", Bucket=self.place.bucket, Prefix=prefix)
        return [
            BegunUpload(each["Key"], each["UploadId"], each["Initiated"])
            for page in pages
            for each in page.get("Uploads", ())
        ]

    def listed(self, prefix: str) -> Iterator[Listed]:
        """Objects whose keys begin so, in order; those behind a further slash are left out. A request for 1000."""
        for page in self._pages("list_objects_v2", Bucket=self.place.bucket, Prefix=prefix, Delimiter="/"):
            for each in page.get("Contents", ()):
                yield Listed(str(each["Key"]), int(each["Size"]), each["LastModified"])

    def delete(self, key: str) -> None:
        """Remove an object; fine if there is none."""
        _ask("delete", self._client.delete_object, _MISSING, **self._at(key))

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self.place.bucket, "Key": key}

    def _pages(self, what: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        pages = iter(self._client.get_paginator(what).paginate(**arguments))
        while (page := _insist(what, next, pages, {"end": True})) != {"end": True}:
            yield page


def _insist(what: str, call: Callable[..., Any], *values: Any, **arguments: Any) -> Any:
    """The answer; StoreError whatever the storage refuses."""
    return _ask(what, lambda: call(*values, **arguments), 0)


def _ask(what: str, call: Callable[..., Any], refusal: int, **arguments: Any) -> Any:
    """The answer; None if the storage refuses with this status, StoreError if it does with another one."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    try:
        return call(**arguments)
    except ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if status == refusal:
            return None
        why = f"{error.response.get('Error', {}).get('Code', '?')} ({status})"
        raise _away(what, why) from error
    except HTTPClientError as error:  # its text has the whole address, which may be signed
        raise _away(what, type(error).__name__) from error
    except (BotoCoreError, OSError) as error:
        raise _away(what, f"{type(error).__name__}: {error}") from error


def _away(what: str, why: str) -> StoreError:
    return StoreError("the recordings' storage is away", reason=f"storage: {what}: {why}")


def _client(place: BucketPlace) -> Any:
    """The library is imported here: half a second and 20 MB for those only who use it."""
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    session = botocore.session.Session()
    if place.credentials:
        _check_private(Path(place.credentials))
        session.set_config_variable("credentials_file", place.credentials)
    try:
        if session.get_credentials() is None:
            raise ConfigError(
                "there are no credentials for the recordings' storage: set recordings.credentials, "
                "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return session.create_client(
            "s3",
            endpoint_url=place.endpoint or None,
            region_name=place.region,
            config=Config(
                s3={"addressing_style": "path" if place.path_style else "virtual"},
                connect_timeout=CONNECT_S,
                read_timeout=SILENCE_S,
                retries={"total_max_attempts": 1},
                max_pool_connections=CONNECTIONS,
                # Our own sums are sent, in headers that a storage which does not know them passes over.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"recordings.store cannot be used: {error}") from error


def _check_private(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"recordings.credentials: cannot read {path}: {error.strerror}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"recordings.credentials: {path} is open to other users: run chmod 600 {path}")


def _sums(digests: Digests) -> dict[str, str]:
    """Both: some storages check only the older one."""
    return {"ContentMD5": _base64(digests.md5), "ChecksumSHA256": _base64(digests.sha256)}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
