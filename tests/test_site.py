"""The site builds without a warning, its links lead somewhere, and it fetches nothing."""

import html.parser
import importlib.util
import os
import subprocess
import sys
import urllib.parse

import pytest

from tests.support import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec('sphinx_book_theme') is None,
        reason='what builds the site is not installed (docs/requirements.txt)',
    ),
]


class Page(html.parser.HTMLParser):
    """What a page links to, fetches, and can be linked at."""

    def __init__(self, text):
        super().__init__()
        self.links, self.fetched, self.anchors = [], [], {''}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors.update(attrs[name] for name in ('id', 'name') if attrs.get(name))
        if tag == 'a' and attrs.get('href'):
            self.links.append(attrs['href'])
        elif attrs.get('src') or (tag == 'link' and attrs.get('href')):
            self.fetched.append(attrs.get('src') or attrs['href'])


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', '-b', 'html']
    ran = subprocess.run(
        [*command, '-d', str(out / 'doctrees'), 'docs', str(out / 'html')],
        cwd=ROOT,
        env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return {
        path.relative_to(out / 'html').as_posix(): path
        for path in (out / 'html').rglob('*')
        if path.is_file()
    }


@pytest.fixture(scope='module')
def pages(site):
    # Themes keep templates beside their styles.
    names = [name for name in site if name.endswith('.html') and not name.startswith('_static/')]
    return {name: Page(site[name].read_text()) for name in names}


def test_every_link_inside_leads_somewhere(site, pages):
    assert len(pages) > 30
    wrong = []
    for name, page in pages.items():
        for link in [*page.links, *page.fetched]:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                continue
            here = os.path.dirname(name)
            target = os.path.normpath(os.path.join(here, urllib.parse.unquote(url.path)))
            target = name if not url.path else target
            fragment = urllib.parse.unquote(url.fragment)
            if target not in site or (target in pages and fragment not in pages[target].anchors):
                wrong.append(f'{name}: {link}')
    assert not wrong


def test_nothing_is_fetched_from_elsewhere(site, pages):
    for name, page in pages.items():
        for link in page.fetched:
            assert not urllib.parse.urlsplit(link).netloc, (name, link)
    for name, path in site.items():
        if name.endswith('.css'):
            assert 'url(http' not in path.read_text().replace('"', '').replace("'", ''), name
