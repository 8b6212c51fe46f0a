"""The page of options says what the program accepts."""

from tests.docs.options_page import PAGE, render


def test_the_page_is_what_make_docs_writes() -> None:
    assert PAGE.read_text() == render(), "run `make docs`"
