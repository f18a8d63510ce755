"""The patterns of what is not prose inside a text: addresses, paths, placeholders, identifiers, symbols."""

from __future__ import annotations

import re

_FILE_TYPES = (
    "py|txt|md|rst|jsonl?|ya?ml|toml|csv|tsv|html?|js|ts|css|c|h|cpp|hpp|java|sh|exe|dll|so|zip|tar|gz|pdf|docx?|"
    "xlsx?|pptx?|png|jpe?g|gif|svg|xml|ini|cfg|conf|log|sql|rs|go|rb|php|ipynb|whl"
)
_TOP_LEVEL = "com|org|net|edu|gov|io|dev|info|example"

# Character classes are Unicode and letter case hardly matters, so that translating the words around a code never
# makes a new one: extracting a translated document again must give the same codes.
PROTECTED = re.compile(
    rf"""
      (?:https?|ftps?|file|s3|ssh|git|mailto):[^\s<>"'`|]*[^\s<>"'`|.,;:!?)\]}}]        # URLs
    | (?<!\w)www\.[^\s<>"']*[^\s<>"'.,;:!?)\]}}]
    | (?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+                                          # e-mail addresses
    | (?<![\w.-])(?:[\w-]+\.)+(?:{_TOP_LEVEL})\b(?:/[^\s<>"']*[\w/])?                  # bare domains
    | \{{\{{[^{{}}\n]{{0,80}}\}}\}} | \{{%[^{{}}\n]{{0,80}}%\}}                          # placeholders
    | [$\#%@]\{{[^{{}}\n]{{0,80}}\}} | \{{[^{{}}\s]{{0,60}}\}}
    | %\([\w.]+\)[-\#0+]*\d*(?:\.\d+)?[a-zA-Z]
    | (?<![\w%])%(?:\d+\$)?[-\#0+]*\d*(?:\.\d+)?(?:hh?|ll?|z)?[sdiufxXgGeEcpr@](?!\w) | %%
    | \$[A-Za-z_]\w* | \$\d(?![\d.,])
    | </?[\w:][^<>\n]{{0,200}}> | &(?:\#\d+|\#x[\da-fA-F]+|\w{{2,10}});
    | `{{1,2}}[^`\n]{{1,200}}`{{1,2}}                                                      # quoted code
    | "[^"\s]*[=\[\](){{}}<>*+%&|^@\\_][^"\s]*"
    | (?<![\w/])(?:~|\.{{1,2}})?/[\w.@+~-]*\w(?:/[\w.@+~-]*\w)*/?                          # file paths
    | (?<![\w/])[\w.-]+(?:/[\w.-]+)+\.\w{{1,5}}(?!\w)
    | (?<!\w)[A-Za-z]:\\[^\s<>"|?*]*[\w\\]
    | (?<![\w.-])[\w-]+\.(?i:{_FILE_TYPES})(?![\w-])
    | (?<![\w.])(?:\w+\.)*\w*_\w*(?:\.\w+)*(?:\([^()\n]{{0,100}}\))?                       # identifiers
    | (?<![\w.])\w+(?:\.\w+)+\([^()\n]{{0,100}}\) | (?<![\w.])\w+\(\)
    | (?<![\w.])(?!(?:e\.g|i\.e)\b)[a-z]\w+(?:\.[a-z]\w+)+(?![\w])
    | (?<![\w-])--\w[\w-]*(?:=[^\s,;]*\w)? | (?<![\w-])-\w(?!\w)
    | (?<!\w)[@\#]\w[\w-]*
    | \\\w* | [<>=!:+*/|&^-]+=+[<>]? | [<=-]+> | <[=-]+ | [&|]{{2,}} | [*/]{{2,}} | =+ | [<>|]
    | [\U0001F000-\U0001FAFF\u2600-\u27BF][\uFE0F\u200D\U0001F000-\U0001FAFF\u2600-\u27BF]*   # symbols engines lose
    | [~\u2022\u2023\u25E6\u2043\u2190-\u21FF\u2200-\u23FF\u2500-\u25FF\u27C0-\u2BFF\u00B2\u00B3\u00B9\u2070-\u209C]+
    | [\0-\x1F\x7F-\x9F\u200B\u200E\u200F\u2028-\u202E\u2060-\u206F\uFE0F\uFEFF\uFFF0-\uFFFD\uE000-\uF8FF]
    """,
    re.VERBOSE,
)

MAY_HOLD = re.compile(
    r"[^\w\s.,;'’‘“”?!…–—()-]|_|-[-\w]|\w\(\)|\w\.\w|[\w.]\([^()]*\)|[\0-\x1F\u00B2\u00B3\u00B9\u2070-\u209C]"
)
"""A quick look: a text without any of these holds nothing to protect (most sentences)."""
