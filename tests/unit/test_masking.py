"""Secrets on their way to a page and back, and JSON drawn for reading."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.jsontree import json_tree
from webapp.masking import masked, restored
from yadtq.core.yadtq_codec import MASK

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "password", "api_key"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def test_secrets_are_masked_by_name_at_any_depth() -> None:
    value = {"user": "ada", "password": "pw1", "deep": [{"api_key": {"id": 1}}], "token": None}

    assert masked(value) == {"user": "ada", "password": MASK, "deep": [{"api_key": MASK}], "token": None}


@given(JSON)
def test_what_was_masked_and_left_alone_comes_back_as_it_was(value: Any) -> None:
    assert restored(masked(value), value) == value


def test_only_the_mask_under_its_own_name_is_put_back() -> None:
    old = {"password": "pw1", "name": "ada"}

    assert restored({"password": "new", "name": MASK}, old) == {"password": "new", "name": MASK}
    assert restored({"other": {"password": MASK}}, old) == {"other": {"password": MASK}}
    assert restored([MASK, 1], ["x"]) == [MASK, 1]


class Reader(HTMLParser):
    """What a browser makes of a drawn value."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(str(page))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("harm", ["<script>", '"><img src=x onerror=1>', "</details><b>", "&amp;", "{0} {{ 7 * 7 }}"])
@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: {text: [text, {}]}, lambda text: [text * 100]])
def test_a_drawn_value_holds_no_markup_of_its_own(harm: str, wrap: Any) -> None:
    seen = Reader(json_tree(wrap(harm)))

    assert seen.tags <= {"div", "details", "summary", "ul", "li", "span"}
    assert seen.attributes <= {"class", "open", "data-n"}
    assert json.dumps(harm)[1:-1] in seen.text


def test_a_drawn_value_is_whole() -> None:
    page = json_tree({"list": list(range(40)), "text": "x" * 5000, "none": None, "nested": {"deep": [True, []]}})

    assert 'data-n="40"' in page
    assert "x" * 5000 in page
    assert "5,000 characters" in page
    assert page.count("<details open>") == 3  # the whole, nested and deep; forty numbers and a long text are folded


def test_what_is_too_much_to_draw_is_one_text() -> None:
    value = {"n": list(range(5000))}

    page = json_tree(value)

    assert page.startswith("<pre")
    assert json.loads(Reader(page).text) == value
