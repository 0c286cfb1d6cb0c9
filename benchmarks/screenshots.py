"""The pictures of the README: a plain case on the form of a running server, in both languages."""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.conftest import CASE

LARGEST_BYTES = 250_000
PICTURES = [("form-en", "en", 1280), ("form-zh", "zh", 1280), ("form-zh-narrow", "zh", 390)]
"""Name, language and width in px of each."""


def take(browser: Browser, base: str, lang: str, width: int) -> bytes:
    """The form with CASE and its answer, full page, as PNG."""
    context = browser.new_context(viewport={"width": width, "height": 800}, device_scale_factor=1)
    page = context.new_page()
    page.goto(f"{base}/form/birth_weight?lang={lang}")
    for name, value in CASE.items():
        flag = page.locator(f"input[type=radio][name={name}][value={'yes' if value else 'no'}]")
        control = page.locator(f"#f-{name}")
        if isinstance(value, bool):
            flag.check()
        elif isinstance(value, str):
            control.select_option(value)
        else:
            control.fill(str(value))
    page.locator("#submit").click()
    page.locator("#answer-value").wait_for()
    picture = page.screenshot(full_page=True, animations="disabled")
    context.close()
    return picture


def shrink(picture: bytes) -> bytes:
    """The same PNG in 256 colours: 95 kB instead of 283, no channel of a pixel off by more than 4.

    By maximum coverage: a median cut made the red star of a required field black, an octree the grey page white.
    """
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    out = io.BytesIO()
    image.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="http://127.0.0.1:8000", help="a running `gancao serve`")
    parser.add_argument("--out", type=Path, default=Path("docs/img"))
    given = parser.parse_args()
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    path = next(filter(None, found), None)
    if path is None:
        sys.exit("No Chromium on PATH. `make tools` installs it.")

    given.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for name, lang, width in PICTURES:
            picture = shrink(take(browser, given.base, lang, width))
            if len(picture) > LARGEST_BYTES:
                sys.exit(
                    f"{name}.png has {len(picture)} bytes, more than {LARGEST_BYTES}. Use fewer colours in `shrink`."
                )
            (given.out / f"{name}.png").write_bytes(picture)
            print(f"{given.out / name}.png: {width} px wide, {len(picture) / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()
