"""Reading references: what is taken, what is refused, and what the refusal says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidReference
from api.reference import OciReference, UrlReference, parse_reference

HEX = "a" * 64


def test_a_tag_is_kept_as_written() -> None:
    assert parse_reference("oci://registry.example.com:5000/team/llama:v1") == OciReference(
        "registry.example.com:5000", "team/llama", "v1", None
    )


def test_without_tag_or_digest_the_tag_is_latest() -> None:
    reference = parse_reference("oci://registry.example.com/llama")
    assert isinstance(reference, OciReference)
    assert reference.manifest == "latest"


def test_a_digest_wins_over_a_tag() -> None:
    reference = parse_reference(f"oci://h.example/llama:v1@sha256:{HEX}")
    assert isinstance(reference, OciReference)
    assert reference.manifest == f"sha256:{HEX}"


def test_an_address_in_brackets_is_a_host() -> None:
    reference = parse_reference("oci://[::1]:5000/llama:v1")
    assert isinstance(reference, OciReference)
    assert reference.host == "[::1]:5000"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("oci://h.example/models/llama-3-70b:v1", "llama-3-70b"),
        ("hf://meta-llama/Llama-3@main", "Llama-3"),
        ("s3://bucket/models/llama/", "llama"),
    ],
)
def test_the_name_is_the_last_component(text: str, name: str) -> None:
    assert parse_reference(text).name == name


@pytest.mark.parametrize(
    ("text", "place", "revision"),
    [
        (f"oci://h.example/llama:v1@sha256:{HEX}", "oci://h.example/llama", f"sha256:{HEX}"),
        (f"hf://org/name@{HEX[:40]}", "hf://org/name", HEX[:40]),
        (f"s3://bucket/a@b/c@sha256:{HEX}", "s3://bucket/a@b/c", f"sha256:{HEX}"),
        (f"sftp://host/folder@sha256:{HEX}", "sftp://host/folder", f"sha256:{HEX}"),
    ],
)
def test_a_revision_pins_what_a_place_holds(text: str, place: str, revision: str) -> None:
    reference = parse_reference(text)
    assert reference.is_pinned
    assert reference.place == place
    assert reference.pinned(revision) == reference
    assert str(reference) == text


@pytest.mark.parametrize(
    "text", ["oci://h.example/llama:v1", "hf://org/name", "hf://org/name@main", "hf://org/name@refs/pr/1", "s3://b/a@b"]
)
def test_a_name_that_may_move_is_no_pin(text: str) -> None:
    reference = parse_reference(text)
    assert not reference.is_pinned
    assert str(reference) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("llama-3-70b", "no scheme"),
        ("FTP!://h/x", "unknown scheme"),
        ("oci://", "empty"),
        ("oci://h.example/UPPER:v1", "repository"),
        ("oci://h.example/../etc:v1", "repository"),
        ("oci://h.example/llama:", "tag"),
        ("oci://h.example/llama:bad tag", "white space"),
        ("oci://h.example/llama@sha256:short", "sha256"),
        ("oci://h.example/llama@md5:" + HEX, "sha256"),
        ("oci://user:secret@h.example/llama", "credentials"),
        ("https://user:secret@h.example/llama", "credentials"),
        ("https://h.example/llama?sig=abc", "query"),
        ("oci://-bad-/llama", "host"),
    ],
)
def test_a_bad_reference_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(InvalidReference, match=says):
        parse_reference(text)


def test_no_credential_is_repeated_in_the_message() -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_reference("oci://user:hunter2@h.example/llama")
    assert "hunter2" not in f"{caught.value.message}{caught.value.hint}"


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    for candidate in (text, f"oci://{text}", f"hf://{text}"):
        try:
            reference = parse_reference(candidate)
        except InvalidReference:
            continue
        assert isinstance(reference, OciReference | UrlReference)


_letters = st.text("abcz019", min_size=1, max_size=5)
_component = st.lists(_letters, min_size=1, max_size=3).map("-".join)


@given(
    st.lists(_component, min_size=1, max_size=4),
    _letters,
    st.booleans(),
)
def test_writing_and_reading_an_oci_reference_gives_it_back(parts: list[str], tag: str, digest: bool) -> None:
    text = f"oci://registry.example.com/{'/'.join(parts)}:{tag}" + (f"@sha256:{HEX}" if digest else "")
    assert str(parse_reference(text)) == text
