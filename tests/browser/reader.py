"""What a reader of /docs does, by playwright, whose environment in .tools runs this file:

    reader.py CHROMIUM URL API_KEY PICTURE

Writes what came of it as JSON on its standard output.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, Request, sync_playwright

Json = dict[str, Any]


def main(chromium: str, url: str, key: str, picture: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        found = {
            "calls": try_calls(browser, url, key, picture),
            "colours": {scheme: background(browser, url, scheme) for scheme in ("light", "dark")},
            "phone": widths_on_a_phone(browser, url),
            "without_script": text_without_script(browser, url),
        }
        browser.close()
    print(json.dumps(found))


def try_calls(browser: Browser, url: str, key: str, picture: str) -> Json:
    """Authorise, store the picture, read it, and load the page again."""
    page = browser.new_page()
    console: list[str] = []
    requests: list[Request] = []
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.on("request", lambda request: requests.append(request))
    page.goto(f"{url}/docs#/documents/createDocument")
    create = page.locator("#operations-documents-createDocument")
    create.locator(".try-out__btn").click()  # the link has opened it
    authorize(page, key)
    create.locator("[data-param-name=Document-Tags] input").fill("from-a-browser")
    create.locator("input[type=file]").set_input_files(picture)
    created = json.loads(execute(create)["body"])
    read = open_call(page, "readDocument", created["id"])
    statuses = [execute(read)["status"]]
    content = open_call(page, "readContent", created["id"])
    statuses.append(execute(content)["status"])
    with page.expect_download() as downloading:
        content.get_by_text("Download file").click()
    downloaded = Path(downloading.value.path()).read_bytes()
    content.locator("[data-param-name=disposition] select").select_option("inline")
    content.locator(".execute").click()
    image = content.locator(".live-responses-table img")
    image.evaluate("image => image.decode()")
    width = image.evaluate("image => image.naturalWidth")
    stored = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
    page.locator(".operation-filter-input").fill("service")
    page.locator("#operations-documents-createDocument").wait_for(state="detached")
    tags = page.locator(".opblock-tag").count()
    page.reload()
    page.locator(".opblock").first.wait_for()
    return {
        "created": created,
        "statuses": statuses,
        "downloaded": downloaded.hex(),
        "image_width": width,
        "kept": stored,
        "still_authorised": page.locator(".btn.authorize.locked").count(),
        "filtered_tags": tags,
        "console": console,
        "elsewhere": [
            request.url
            for request in requests
            if not request.url.startswith((url, "data:", "blob:"))
        ],
        "with_key": sorted({r.url for r in requests if "authorization" in r.all_headers()}),
    }


def authorize(page: Page, key: str) -> None:
    page.locator(".btn.authorize").click()
    page.locator(".auth-container input").fill(key)
    page.locator(".auth-btn-wrapper .authorize").click()
    page.locator(".btn-done").click()


def open_call(page: Page, operation: str, identifier: str) -> Locator:
    """The call, ready to be tried on this document."""
    call = page.locator(f"#operations-documents-{operation}")
    call.locator(".opblock-summary-control").click()
    call.locator(".try-out__btn").click()
    call.locator("[data-param-name=id] input").fill(identifier)
    return call


def execute(call: Locator) -> Json:
    """The response that the page shows: its status, and its body as text."""
    call.locator(".execute").click()
    row = call.locator(".live-responses-table tbody tr.response").first
    row.wait_for()
    body = row.locator(".highlight-code pre")
    return {
        "status": row.locator(".response-col_status").inner_text().strip(),
        "body": body.first.inner_text() if body.count() else "",
    }


def background(browser: Browser, url: str, scheme: Any) -> str:
    page = browser.new_page(color_scheme=scheme)
    page.goto(f"{url}/docs")
    page.locator(".opblock").first.wait_for()
    colour: str = page.locator("#api .swagger-ui").first.evaluate(
        "element => getComputedStyle(element).color"
    )
    return colour


def widths_on_a_phone(browser: Browser, url: str) -> Json:
    """In CSS pixels, where a screen has 360: the page with a call open, and a field to fill in."""
    page = browser.new_page(viewport={"width": 360, "height": 740})
    page.goto(f"{url}/docs#/documents/createDocument")
    page.locator(".try-out__btn").click()
    field = page.locator("[data-param-name=Document-Tags] input")
    return {
        "page": page.evaluate("document.documentElement.scrollWidth"),
        "field": field.evaluate("element => element.getBoundingClientRect().width"),
    }


def text_without_script(browser: Browser, url: str) -> str:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{url}/docs")
    text: str = page.locator("body").inner_text()
    return text


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], str(Path(sys.argv[4]).resolve()))
