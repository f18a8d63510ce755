"""Generated documents, nasty ones on purpose."""

from __future__ import annotations

import csv
import html
import io
import json

from hypothesis import strategies as st

WORDS = [
    "the", "coffee", "is", "ready", "Maria", "observatory", "opens", "at", "night", "café", "naïve", "straße", "год",
    "咖啡很好", "3.5", "1,200", "10%", "{name}", "%s", "%(count)d", "{{user}}", "${HOME}", "$1", "<0>", "foo_bar()",
    "__init__", "--verbose", "https://example.org/a_b?c=d&e=f", "ana@example.org", "/etc/hosts", "report.pdf", "~",
    "→", "•", "m²", "\ue000", "\uf8ff", "\ue123x", "AT&T", "a<b", "x>y", "&amp;", "*", "**bold**", "_it_", "`code`", "[link](http://x.y)",
    "[ref]", "![img](a.png)", "\"quoted\"", "'single'", "it's", "back\\slash", "pipe|pipe", "semi;colon", "a,b", "tab\there",
    "-", "1.", "#", "e.g.", "well-", "known", "co-operate", "😀", "🇵🇹", "zero\u200bwidth", "nb\u00a0sp", "“curly”", "…", "::", "==",
]  # fmt: skip
words = st.sampled_from(WORDS)
plain_words = st.sampled_from(WORDS[:14])
sentences = st.lists(st.one_of(plain_words, words), min_size=1, max_size=14).map(" ".join)
newlines = st.sampled_from(["\n", "\r\n", "\n", "\r"])
encodings = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"])


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    blocks = draw(
        st.lists(
            st.lists(
                st.tuples(st.sampled_from(["", "", "  ", "- ", "> ", "1. ", "    "]), sentences), min_size=1, max_size=6
            ),
            max_size=5,
        )
    )
    newline = draw(newlines)
    body = f"{newline}{newline}".join(newline.join(a + b for a, b in block) for block in blocks)
    return (body + draw(st.sampled_from(["", newline]))).encode(draw(encodings))


@st.composite
def markdowns(draw: st.DrawFn) -> bytes:
    starts = [
        "",
        "",
        "# ",
        "- ",
        "> ",
        "1. ",
        "    ",
        "| ",
        "```\n",
        "[ref]: ",
        "[^1]: ",
        "<div>\n",
        "- [ ] ",
        "* * *\n",
        "---\n",
    ]
    blocks = draw(st.lists(st.lists(st.tuples(st.sampled_from(starts), sentences), min_size=1, max_size=4), max_size=5))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    body = "\n\n".join("\n".join(a + b for a, b in block) for block in blocks).replace("\n", newline)
    return body.encode(draw(encodings))


@st.composite
def htmls(draw: st.DrawFn) -> bytes:
    tags = ["<p>", "</p>", "<b>", "</b>", "<br>", "<li>", "<i class='x'>", "</i>", "<code>", "</code>", "<!-- c -->", "<td>", "<pre>", "</pre>",
            "<img alt=\"a good cat\">", "<img alt=Cat src=x>", "<a title='read this now' href=#>", "</a>", "<script>a<b</script>", "&nbsp;", "&eacute;",
            "<p translate=no>", "\n", "  ", "<", "<3", "<a b='", "</", "<![CDATA[x]]>", "<?php x ?>", "<span translate=\"no\">", "</span>"]  # fmt: skip
    parts = draw(
        st.lists(
            st.one_of(sentences.map(lambda s: html.escape(s, quote=False)), sentences, st.sampled_from(tags)),
            max_size=14,
        )
    )
    return "".join(parts).encode(draw(encodings))


@st.composite
def csvs(draw: st.DrawFn, delimiters: str = ",;\t|") -> bytes:
    delimiter = draw(st.sampled_from(delimiters))
    width = draw(st.integers(2, 4))
    cell = st.one_of(
        st.just(""), st.integers().map(str), sentences, st.lists(sentences, min_size=2, max_size=3).map("\n".join)
    )
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), max_size=6))
    out = io.StringIO(newline="")
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(out, delimiter=delimiter, lineterminator=ending, quoting=quoting)
    writer.writerows([[f"column{i}" for i in range(width)], *rows])
    return out.getvalue().encode(draw(encodings))


@st.composite
def jsonls(draw: st.DrawFn) -> bytes:
    strings = st.one_of(sentences, st.lists(sentences, max_size=3).map("\n".join), st.text(max_size=8))
    values = st.recursive(
        st.one_of(strings, st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
        max_leaves=6,
    )
    ascii_only = draw(st.booleans())
    lines = [json.dumps(v, ensure_ascii=ascii_only) for v in draw(st.lists(values, max_size=5))]
    body = draw(st.sampled_from(["\n", "\r\n"])).join(lines)
    return body.encode(draw(encodings), "replace")


DOCUMENTS = {
    "text": texts(),
    "markdown": markdowns(),
    "html": htmls(),
    "csv": csvs(),
    "tsv": csvs("\t"),
    "jsonl": jsonls(),
}
