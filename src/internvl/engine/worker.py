"""The thread that owns the model: takes requests from an inbox, computes step after step, sends deltas out.

Everything else talks to it through queues, so the model, the cache and the scheduler need no locks. A failing
request ends with finish_reason "error" and leaves the others alone.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from internvl.engine.answer import Piece, join
from internvl.engine.candidates import find_candidates
from internvl.engine.request import Generation, Request
from internvl.engine.runner import Runner
from internvl.engine.sampler import choose_together, token_logprob
from internvl.engine.scheduler import Chunk, Scheduler
from internvl.errors import CapacityError, InternVLError, RequestError
from internvl.types import FinishReason, Response, Usage

logger = logging.getLogger(__name__)

#: What one request's work may raise without being a bug of the engine; torch raises RuntimeError (out of
#: memory among them). Anything else ends the engine, and every open request with it.
REQUEST_FAILURES = (InternVLError, RuntimeError, ValueError, MemoryError)

#: What choosing and showing one answer's tokens may raise: that is plain Python on one answer's own state, so that
#: whatever is wrong there, bugs included, is wrong with this answer only.
ANSWER_FAILURES = (*REQUEST_FAILURES, ArithmeticError, AttributeError, LookupError, TypeError)


class Worker:
    """Runs the engine's loop in a thread of its own."""

    def __init__(self, runner: Runner, scheduler: Scheduler, *, max_open: int, max_tile_bytes: int) -> None:
        """`max_open` answers may be open; the tiles that wait for the tower may take `max_tile_bytes`."""
        self._runner = runner
        self._scheduler = scheduler
        self._counters = scheduler.counters
        self._max_open = max_open
        self._max_tile_bytes = max_tile_bytes
        self._inbox: queue.SimpleQueue[Sequence[Generation] | None] = queue.SimpleQueue()
        # Reentrant, as the garbage collector may close an engine from anywhere, this thread included.
        self._lock = threading.RLock()
        self._finished = threading.Condition(self._lock)
        self._closed = False
        self._requests: set[Request] = set()
        """What is open."""
        self._thread: threading.Thread | None = None

    def submit(self, request: Request, generations: Sequence[Generation]) -> None:
        """Hand over a request. Raises RequestError once closed, CapacityError when there is no room now."""
        with self._lock:
            if self._closed:
                raise RequestError("this engine is closed; make a new pipeline (or Engine) to go on")
            self.check_room(len(generations), request.tile_bytes)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="internvl-engine", daemon=True)
                self._thread.start()
            self._requests.add(request)
            self._inbox.put(generations)

    def check_room(self, num_answers: int, tile_bytes: int = 0) -> None:
        """Raise CapacityError when so much more cannot be open now. Alone, every request may be."""
        with self._lock:
            if not self._requests:
                return
            num_open = self.num_open
            held = sum(request.tile_bytes for request in self._requests) if tile_bytes else 0
        if num_open + num_answers > self._max_open:
            raise CapacityError(
                f"{num_open} answers are open and {num_answers} more are asked for; {self._max_open} may be"
                " (EngineConfig.max_batch_size and max_waiting_requests); try again later"
            )
        if held + tile_bytes > self._max_tile_bytes:
            raise CapacityError(
                f"pictures of open requests wait with {held / 1e6:.0f} MB of tiles, this request brings"
                f" {tile_bytes / 1e6:.0f} MB more; memory is planned for {self._max_tile_bytes / 1e6:.0f} MB;"
                " try again later"
            )

    def wait_for_room(self) -> None:
        """Wait until a request has finished; for a second at most, as that may just have happened."""
        with self._lock:
            if self._requests and not self._closed:
                self._finished.wait(timeout=1)

    @property
    def num_open(self) -> int:
        """Generations handed over and not finished."""
        with self._lock:
            return sum(request.num_open for request in self._requests)

    @property
    def closed(self) -> bool:
        """Whether nothing can be handed over any more."""
        return self._closed

    def close(self) -> None:
        """End all that is open with finish_reason "abort", and the thread. More than once is fine."""
        with self._lock:
            first, self._closed = not self._closed, True
            thread = self._thread
        if thread is None:
            return
        if first:
            self._inbox.put(None)
        if thread is not threading.current_thread():
            thread.join()

    # -- below: the thread

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._receive():
                    self._turn()
        except BaseException as error:
            # A bug: nobody may wait for an answer that cannot come.
            with self._lock:
                self._closed = True
            self._drain()
            failure = InternVLError(f"the engine stopped: {type(error).__name__}: {error}")
            for generation in list(self._scheduler.generations()):
                generation.request.error = failure
                self._send_last(generation, "error")
            raise

    def _turn(self) -> None:
        """Compute one step."""
        self._end_aborted()
        step = self._scheduler.next_step()
        if step is None:
            return
        self._counters.steps += 1
        if step.chunks:
            self._compute(step.chunks)
        if step.tiles:
            self._encode(step.tiles)

    def _receive(self) -> bool:
        """Take what has come in, waiting for it when there is nothing else to do; False = close."""
        while True:
            idle = not (self._scheduler.num_running or self._scheduler.num_waiting)
            try:
                generations = self._inbox.get(block=idle)
            except queue.Empty:
                return True
            if generations is None:
                for generation in list(self._scheduler.generations()):
                    self._abort(generation)
                return False
            for generation in generations:
                self._scheduler.add(generation)

    def _drain(self) -> None:
        while not self._inbox.empty():
            for generation in self._inbox.get() or ():
                self._scheduler.add(generation)

    def _end_aborted(self) -> None:
        for generation in list(self._scheduler.generations()):
            if generation.request.abort_requested:
                self._abort(generation)

    def _encode(self, tiles: dict[Generation, int]) -> None:
        """Encode some tiles; who makes that fail is found by encoding for each alone."""
        try:
            self._runner.pictures.encode(tiles)
        except REQUEST_FAILURES as error:
            if len(tiles) == 1:
                self._end(next(iter(tiles)), error)
                return
            for generation, count in tiles.items():
                self._encode({generation: count})

    def _compute(self, chunks: list[Chunk]) -> None:
        """Compute some chunks and choose the tokens that follow; who makes that fail is found as above."""
        try:
            logits = self._runner.compute(chunks)
        except REQUEST_FAILURES as error:
            if len(chunks) == 1:
                self._end(chunks[0].generation, error)
                return
            for chunk in chunks:
                self._compute([chunk])
            return
        ready = [chunk.generation for chunk in chunks if chunk.last]
        for chunk in chunks:
            self._scheduler.stored(chunk)
        if not ready:
            return
        samplers = [generation.sampler for generation in ready]
        found = find_candidates(logits, [sampler.num_candidates for sampler in samplers])
        masked = [generation.answer.masked_token_ids for generation in ready]
        chosen = choose_together(samplers, found, masked)
        for row, generation in enumerate(ready):
            answer, sampler = generation.answer, generation.sampler
            try:
                token_id = sampler.choose(logits, found, answer.token_ids, masked[row], row, chosen[row])
                piece = self._take(generation, token_id, logits, row)
            except ANSWER_FAILURES as error:
                logger.warning("an answer failed: %s: %s", type(error).__name__, error)
                self._end(generation, error)
                continue
            if piece.finish_reason is not None:
                self._counters.requests_finished += 1
                self._release(generation)
            self._send(generation, piece)

    def _take(self, generation: Generation, token_id: int, logits: Tensor, row: int) -> Piece:
        """Return what its next token adds to an answer; it was chosen by row `row` of `logits` (n, V)."""
        if generation.first_token_at is None:
            generation.first_token_at = time.perf_counter()
        num_top = generation.request.gen_config.logprobs
        logprob = None if num_top is None else token_logprob(logits[row], token_id, num_top)
        return generation.answer.push(token_id, logprob)

    def _abort(self, generation: Generation) -> None:
        self._counters.aborts += 1
        self._release(generation)
        self._send_last(generation, "abort")

    def _release(self, generation: Generation, *, trusted: bool = True) -> None:
        self._scheduler.finish(generation, trusted=trusted)
        request = generation.request
        with self._lock:
            request.num_open -= 1
            if not request.num_open:
                request.pictures.clear()
                self._requests.discard(request)
                self._finished.notify_all()

    def _end(self, generation: Generation, error: Exception) -> None:
        """End an answer because of an error; what its blocks hold is not trusted any more."""
        generation.request.error = error
        self._counters.failures += 1
        self._release(generation, trusted=False)
        self._send_last(generation, "error")

    def _send_last(self, generation: Generation, reason: FinishReason) -> None:
        try:
            piece = generation.answer.finish(reason)
        except ANSWER_FAILURES:  # it cannot even show what it held back
            piece = Piece(finish_reason=reason)
        self._send(generation, piece)

    def _send(self, generation: Generation, piece: Piece) -> None:
        """Put a delta into the request's stream, unless there is nothing to see yet."""
        if generation.pending.token_ids:
            piece = join([generation.pending, piece])
            generation.pending = Piece()
        if not piece.text and piece.finish_reason is None:
            generation.pending = piece
            return
        try:
            generation.request.deltas.put(_response(generation, piece))
        except RuntimeError:  # a queue of the caller's, into an event loop that has ended
            generation.request.abort()


def _response(generation: Generation, piece: Piece) -> Response:
    """Return one delta: what is new, and what the answer has cost so far."""
    request = generation.request
    started = request.submitted_at
    num_tokens = len(generation.answer.token_ids)
    usage = Usage(
        prompt_tokens=len(generation.prompt_ids),
        completion_tokens=num_tokens,
        cached_tokens=generation.num_cached_tokens,
        cached_media=generation.cached_media,
        media=tuple(request.inputs.media),
        vision_s=generation.vision_s,
        time_to_first_token_s=(generation.first_token_at or started) - started,
        total_s=time.perf_counter() - started,
    )
    return Response(
        text=piece.text,
        token_ids=piece.token_ids,
        input_token_len=usage.prompt_tokens,
        generate_token_len=num_tokens,
        finish_reason=piece.finish_reason,
        logprobs=piece.logprobs if request.gen_config.logprobs is not None else None,
        index=request.index,
        choice=generation.choice,
        usage=usage,
        error_message=None if request.error is None else str(request.error),
    )
