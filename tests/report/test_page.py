"""A page: any text is shown as it is, in HTML and in Markdown, and what it says can be sorted."""
import re

import pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from markdown_it import MarkdownIt

from bs_lr_study.files import clean
from bs_lr_study.report.page import Part, Report, Table, Text, Value, as_table, as_value, docs_url, md_text

texts = st.text(st.characters(codec='utf-8'), min_size=1, max_size=30)

def plain(md):
    "What a reader of Markdown shows of a text; what is not text by its name"
    tokens = MarkdownIt('commonmark').enable(['table', 'strikethrough']).parse(md)
    children = [c for t in tokens for c in t.children or ()]
    return ''.join(c.content if c.type in ('text', 'text_special') else f'<{c.type}>' for c in children)

@settings(max_examples=300, deadline=None)
@given(texts.map(clean))
def test_any_text_in_markdown(text):
    "Is read as it was written, spaces aside, alone and in a table"
    want = ' '.join(text.split())
    assert plain(md_text(text)) == want
    assert plain(f'| a | b |\n|---|---|\n| {md_text(text)} | c |').removeprefix('ab') == want + 'c'

def test_links_of_strangers_stay_text():
    "GitHub makes links of bare addresses and of names after an at sign"
    for o in ('https://example.com', 'www.example.com', '@someone', 'javascript:alert(1)', '[x](javascript:alert(1))'):
        assert not re.search(r'https?://|www\.|(?<!\\)@|(?<!\\)\]\(', md_text(o)) and plain(md_text(o)) == o


@pytest.mark.parametrize('value,text,rank', [
    (None, '–', ''), (float('nan'), '–', ''), (.123456, '0.1235', .123456), (7, '7', 7), (True, 'True', None),
    (float('inf'), 'inf', ''), ('a\u202eb', 'a\ufffdb', None), ([1], '[1]', None)])
def test_values(value, text, rank):
    "How it reads, and what it counts as when the table is sorted"
    assert as_value(value) == Value(text, rank)

def test_tables():
    t = as_table('T', pd.DataFrame(dict(a=[1., 2.], b=['x', None])), 'note', a='{:.0%}'.format)
    assert t == Table('T', ['a', 'b'], [[Value('100%', 1.), Value('x')], [Value('200%', 2.), Value('–', '')]], 'note')

def test_parts_have_addresses():
    html = Report('R', [Part('What was run', [Text('A text.')])]).html()
    assert 'id="what-was-run"' in html and 'href="#what-was-run"' in html

def test_where_the_documentation_is(): assert docs_url().startswith('https://') and docs_url().endswith('/')
