"""A vision-language model behind an OpenAI-compatible endpoint: pictures in, one text out, or what went wrong."""

import base64
import json
import math
import os
import re
import time
import unicodedata
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any

import numpy as np

from infra.errors import SteadyDancerError, UsageError
from infra.schema import Caption

PROMPT = """\
These {count} pictures are moments of one video clip, in order, evenly spread over {seconds:.1f} seconds. Describe how \
the person in it moves, in plain English sentences, at most {words} words in all.

Tell the movement from beginning to end: which parts of the body move (head, shoulders, arms, hands, torso, hips, \
legs, feet), in which direction, how far and how fast, and in which order; how steps, turns, bends, jumps and shifts \
of weight follow one another; whether it is smooth or sharp, and what repeats in a rhythm. Speak of the camera only if \
it moves.

Call the one who moves "the person". Say nothing of looks or surroundings: no clothes, hair, face, skin, age, sex, \
build or identity, no place, background or light. Do not guess at feelings, at music or at what lies outside the clip. \
No list, no heading, no introduction: the description alone."""

LARGEST_ANSWER = 1 << 20
"""Bytes of an answer that are read at most."""

WAIT, WAIT_WHEN_LIMITED = 2.0, 5.0
"""Seconds after a server error or a broken connection, and after a 429, that say nothing of how long."""

LONGEST_WAIT = 120.0
"""Seconds that a server's Retry-After is followed at most."""


class EndpointError(SteadyDancerError):
    """The endpoint refuses requests for a reason that asking again does not mend."""


class AskAgain(Exception):
    """No usable answer this time. ``wait``: seconds in which the server is to be left alone; ``silent``: it was not the
    model that spoke."""

    def __init__(self, said: str, tokens: int = 0, wait: float = 0.0, silent: bool = False):
        super().__init__(said)
        self.tokens, self.wait, self.silent = tokens, wait, silent


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int


class VisionLanguageModel:
    """The model that ``settings`` name. The key is taken from the environment and goes nowhere but into the header of
    requests to that address: redirects are not followed, and it is blotted out of what the server says.

    Raises UsageError for a key that cannot be sent.
    """

    def __init__(self, settings: Caption):
        import requests

        self.settings = settings
        self.key = os.environ.get(settings.api_key_env, "").strip()
        if not (self.key.isascii() and self.key.isprintable()) or " " in self.key:
            raise UsageError(f"The key in {settings.api_key_env} has characters that no header may hold.")
        self.session = requests.Session()
        self.session.auth = self._authorise  # a function, so that no .netrc takes its place
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=settings.concurrency))

    def _authorise(self, request):
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request

    def ask(self, body: bytes) -> Answer:
        """What the model says to a :meth:`question`.

        Raises AskAgain for time-outs, broken connections, 408, 429, server errors and answers that are no caption, and
        EndpointError for everything that would come again: a wrong key, an unknown model, a redirect.
        """
        import requests
        import urllib3

        url = self.settings.endpoint.rstrip("/") + "/chat/completions"
        try:
            status, headers, content = self._post(url, body)
        except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema):
            raise UsageError(f"caption.endpoint {self.settings.endpoint!r} is no http(s) address.") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError) as error:
            raise AskAgain(type(error).__name__, wait=WAIT, silent=True) from error
        if self.key:
            content = content.replace(self.key.encode(), b"***")
        if status in (408, 429) or status >= 500:
            wait = _retry_after(headers.get("Retry-After"), WAIT_WHEN_LIMITED if status == 429 else WAIT)
            raise AskAgain(f"HTTP {status}", wait=wait, silent=True)
        if status != 200:
            said = plain(content[:2000].decode("utf-8", "replace"))[:300]
            where = f" It points to {headers.get('Location')}." if 300 <= status < 400 else ""
            raise EndpointError(
                f"{url} answers HTTP {status} to a request for {self.settings.model}: {said or 'nothing'}.{where}",
                f"Check caption.endpoint, caption.model and the key in {self.settings.api_key_env}.",
            )
        return self._answer(content, estimate=len(body) // 4000 + 2 * self.settings.max_words)

    def tokens_at_most(self) -> int:
        """A generous guess of what one request costs: a token per 14 x 14 pixels of square pictures, and the text."""
        return self.settings.frames * (self.settings.side // 14) ** 2 + 512 + _max_tokens(self.settings)

    def question(self, frames: np.ndarray, seconds: float) -> bytes:
        """The body of a request about some pictures, evenly chosen, of ``frames`` (T, H, W, 3) uint8."""
        chosen = frames[np.round(np.linspace(0, len(frames) - 1, min(self.settings.frames, len(frames)))).astype(int)]
        prompt = PROMPT.format(count=len(chosen), seconds=seconds, words=self.settings.max_words)
        pictures = [{"type": "image_url", "image_url": {"url": _data_uri(f, self.settings.side)}} for f in chosen]
        message = {"role": "user", "content": [{"type": "text", "text": prompt}, *pictures]}
        limits = {"temperature": 0, "max_tokens": _max_tokens(self.settings)}
        return json.dumps({"model": self.settings.model, "messages": [message], **limits}).encode()

    def _post(self, url: str, body: bytes) -> tuple[int, Any, bytes]:
        """Status, headers and content, which together took no longer than the time-out (requests bounds each read)."""
        deadline = time.monotonic() + self.settings.timeout_s
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        options = {"timeout": self.settings.timeout_s, "stream": True, "allow_redirects": False}
        with self.session.post(url, data=body, headers=headers, **options) as response:
            content = bytearray()
            while part := response.raw.read1(1 << 16):
                content += part
                if len(content) > LARGEST_ANSWER:
                    raise AskAgain(f"an answer of more than {LARGEST_ANSWER} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError
            return response.status_code, response.headers, bytes(content)

    def _answer(self, content: bytes, estimate: int) -> Answer:
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise AskAgain("an answer that is no JSON", estimate) from None
        tokens = _at(answer, "usage", "total_tokens")
        tokens = tokens if type(tokens) is int and 0 < tokens < 10**7 else estimate
        said = _at(answer, "choices", 0, "message", "content")
        if isinstance(said, list):
            said = " ".join(text for part in said if isinstance(text := _at(part, "text"), str))
        if not isinstance(said, str):
            raise AskAgain("an answer without text", tokens)
        try:
            return Answer(as_caption(said, self.settings.max_words), tokens)
        except ValueError as error:
            raise AskAgain(str(error), tokens) from None


def _max_tokens(settings: Caption) -> int:
    return 2 * settings.max_words + 32


def _at(value: Any, *path: str | int) -> Any:
    """What lies at ``path`` of a JSON value, None where its shape is another."""
    for step in path:
        try:
            value = value[step]
        except (TypeError, KeyError, IndexError):
            return None
    return value


def _data_uri(frame: np.ndarray, side: int) -> str:
    import cv2

    from model import video

    height, width = frame.shape[:2]
    scale = min(1.0, side / max(height, width))
    small = video.resize(frame, (max(1, round(height * scale)), max(1, round(width * scale))))
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def _retry_after(value: str | None, otherwise: float) -> float:
    """Seconds of a Retry-After header, which holds a number or a date."""
    if value is None:
        return otherwise
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return otherwise
    return min(max(0.0, seconds), LONGEST_WAIT) if math.isfinite(seconds) else otherwise


def plain(text: str) -> str:
    """``text`` on one line, without control characters, direction marks, and what UTF-8 cannot hold."""
    text = "".join(c for c in " ".join(text.split()) if not unicodedata.category(c).startswith("C"))
    return unicodedata.normalize("NFC", " ".join(text.split()))


REFUSALS = re.compile(
    r"(i['’]?m|i am)? ?(very |so )?(sorry|unable|not able)\b|i (can['’]?t|cannot|can not|apologi[sz]e|won['’]?t)\b|"
    r"as an ai\b|unfortunately\b|(please|can you|could you) (provide|upload|share)\b",
    re.IGNORECASE,
)
THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
LONGEST_WORD = 40


def as_caption(said: str, max_words: int) -> str:
    """The caption in what a model said: its whole sentences, as many as ``max_words`` hold.

    Raises ValueError, with what it is instead, for refusals, markup, repetition, too few words, and a first sentence
    that is longer than that.
    """
    text = plain(re.sub(r"[*_#`]", "", THOUGHT.sub(" ", said))).strip("\"'“” ")
    words = text.split()
    if REFUSALS.match(text):
        raise ValueError("a refusal")
    if re.search(r"</?[a-zA-Z!]", text) or text[:1] in ("{", "["):
        raise ValueError("markup instead of sentences")
    letters = sum(c.isalpha() for c in text)
    if len(words) < 3 or letters < 0.7 * sum(map(len, words)) or max(map(len, words)) > LONGEST_WORD:
        raise ValueError("no sentence")
    if len(words) > 12 and len({word.lower() for word in words}) < 0.3 * len(words):
        raise ValueError("the same words again and again")
    ends = [m.end() for m in re.finditer(r"[.!?](?=\s|$)", text)]
    fitting = [end for end in ends if len(text[:end].split()) <= max_words]
    if fitting:
        return text[: fitting[-1]]
    if ends or len(words) > max_words:
        raise ValueError(f"a first sentence of more than {max_words} words")
    return text
