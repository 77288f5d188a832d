"""The loop that hands units to a pool, keeps the manifest, and gives complete scenes to the sink."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

from rszsl.batch.exchange import unpack
from rszsl.batch.flight import Flight, SceneInHand
from rszsl.batch.manifest import Manifest, SceneRow
from rszsl.batch.options import BatchOptions
from rszsl.batch.pool import Advanced, Failed, Finished, Message, Pool, Started, Trouble
from rszsl.batch.schema import DONE, FAILED, LABELLED, PARTIAL, SKIPPED
from rszsl.batch.sink import Labelled, Sink
from rszsl.batch.spool import Spool
from rszsl.batch.told import BatchProgress
from rszsl.batch.work import Outcome, SceneFacts, Strip, Unit, failed_labels
from rszsl.errors import AoiMissError, SceneError
from rszsl.labels.collect import SceneLabels
from rszsl.pipeline.labelling import Clock
from rszsl.pipeline.plan import Footing

TICK_S = 0.5
COMMIT_EVERY_S = 0.2
SUSPECT_DEATHS = 2
"""A unit under which so many workers died goes on alone, when nothing else runs."""
BOUNCES = 20
"""How often a unit may be turned away by workers that do not fit, or lose them before it began."""


class Runner:
    """One run of a batch.

    Args:
        manifest: with the scenes of this run.
        pool: runs units.
        sink: takes complete scenes.
        spool: keeps strips.
        progress: hears of everything.
        batch: names the run, in tickets.
        options: retries (a unit may begin once more than that) and the time limit of a unit.
    """

    def __init__(
        self, manifest: Manifest, pool: Pool, sink: Sink, spool: Spool, progress: BatchProgress, batch: str,
        options: BatchOptions,
    ) -> None:  # fmt: skip
        self._manifest, self._pool, self._sink, self._spool = manifest, pool, sink, spool
        self._progress, self._batch = progress, batch
        self._retries, self._timeout_s = options.retries, options.timeout_s
        self._scenes: Iterator[SceneRow] = iter(())
        self._ready: deque[Unit] = deque()
        self._alone: deque[Unit] = deque()
        self._flights: dict[str, Flight] = {}
        self._starts: Counter[str] = Counter()
        self._bounces: Counter[str] = Counter()
        self._clocks: dict[int, Clock] = {}
        self._hand: dict[int, SceneInHand] = {}
        self._tickets = 0
        self._committed_s = time.monotonic()

    def run(self) -> None:
        """Go on until every scene is done, skipped or failed, and everything is written.

        Raises:
            ClusterError: where the cluster is lost.
            OutputError: where results cannot be written.
        """
        self._sink.resume(self._manifest.scenes(LABELLED))
        self._scenes = self._manifest.unfinished()
        try:
            while self._fill() or self._flights:
                if self._pool.wait(self.hear, TICK_S):
                    self._stop_hung()
                self._commit()
            self._sink.finish()
        finally:
            self._manifest.commit()

    def hear(self, message: Message) -> None:
        """Take what the pool says; what it says of a forgotten ticket is late and does not count."""
        flight = self._flights.get(message.ticket)
        if flight is None:
            return
        if isinstance(message, Started):
            self._on_started(message, flight)
        elif isinstance(message, Advanced):
            if flight.unit.strip:
                flight.told += message.tiles
                self._progress.advance(flight.unit.scene, message.tiles)
        elif isinstance(message, Finished):
            del self._flights[message.ticket]
            self._on_finished(flight, message.outcome)
        else:
            del self._flights[message.ticket]
            self._on_failed(flight, message)

    def _fill(self) -> bool:
        """Submit as many units as the pool takes; tell whether anything is left to do."""
        slots = self._pool.slots()
        while len(self._flights) < slots and (unit := self._next()) is not None:
            self._submit(unit)
        if not self._flights and self._alone:
            self._submit(self._alone.popleft())
        return bool(self._flights)

    def _next(self) -> Unit | None:
        while not self._ready:
            row = next(self._scenes, None)
            if row is None:
                return None
            self._take_up(row)
        return self._ready.popleft()

    def _submit(self, unit: Unit) -> None:
        self._tickets += 1
        ticket = f"{self._batch}-{unit.name}-{self._tickets}"
        self._flights[ticket] = Flight(unit)
        self._pool.submit(ticket, unit)

    def _take_up(self, row: SceneRow) -> None:
        """Queue a scene, or the strips of it that an earlier run did not finish."""
        facts = self._manifest.facts(row.id)
        if facts is None or len(facts.strips) == 1:
            self._ready.append(Unit(row.id, row.path))
            return
        kept = [s for s in facts.strips if self._spool.has(row.id, s)]
        self._manifest.strips_kept(row.id, kept)  # a run that was killed may have kept a strip, and not said so
        open_strips = [s for s in facts.strips if s not in kept]
        self._begin(row, facts, open_strips)

    def _begin(self, row: SceneRow, facts: SceneFacts, open_strips: list[Strip]) -> None:
        clock = self._clocks.pop(row.id, None) or Clock()
        self._hand[row.id] = SceneInHand(row, facts, {s.first_row for s in open_strips}, clock)
        self._progress.start(row.id, row.path, facts.tiles)
        self._progress.advance(row.id, facts.tiles - sum(s.tiles for s in open_strips))
        self._ready.extend(Unit(row.id, row.path, strip) for strip in open_strips)
        if not open_strips:
            self._complete(row.id)

    def _on_started(self, message: Started, flight: Flight) -> None:
        unit = flight.unit
        self._progress.advance(unit.scene, -flight.told)
        flight.started_s, flight.worker, flight.told = time.monotonic(), message.worker, 0
        flight.starts += 1
        self._starts[unit.name] += 1
        self._clocks.setdefault(unit.scene, Clock())
        self._manifest.started(unit, message.worker)
        deaths = flight.starts - 1
        if self._starts[unit.name] > self._retries + 1:
            self._forget(message.ticket)
            self._give_up(unit, f"kills its worker: begun {self._starts[unit.name]} times, last on {message.worker}")
        elif deaths >= SUSPECT_DEATHS:
            self._forget(message.ticket)
            self._isolate(unit, f"{deaths} workers died while they had it")

    def _on_finished(self, flight: Flight, outcome: Outcome) -> None:
        unit, facts = flight.unit, outcome.facts
        self._starts.pop(unit.name, None)
        if unit.strip is None and facts is not None:
            row = self._manifest.scene(unit.scene)
            self._manifest.learnt(unit.scene, facts, outcome)
            if outcome.labels is None:
                self._warn(row, facts)
                self._begin(row, facts, list(facts.strips))
            else:
                self._whole(row, facts, outcome, outcome.labels)
        elif unit.strip is not None and unit.scene in self._hand and outcome.labels is not None:
            if outcome.fingerprint != self._hand[unit.scene].facts.key.fingerprint:
                self._end(unit.scene, FAILED, error=f"{unit.path} changed while it was being mapped; map it again")
                self._manifest.forget(unit.scene)
                return
            self._spool.put(unit.scene, unit.strip, outcome.labels)
            self._manifest.strip_done(unit.scene, unit.strip, outcome)
            self._progress.advance(unit.scene, unit.strip.tiles - flight.told)
            self._closed(unit.scene, unit.strip)

    def _on_failed(self, flight: Flight, message: Failed) -> None:
        unit, text = flight.unit, " ".join(str(message.error).split()) or type(message.error).__name__
        self._progress.advance(unit.scene, -flight.told)
        if message.trouble is Trouble.UNFIT:
            self._starts[unit.name] -= flight.starts
            self._bounce(unit, text)
        elif message.trouble is Trouble.DIED:
            if not flight.starts:
                self._bounce(unit, text)
            elif self._starts[unit.name] > self._retries:
                self._give_up(unit, f"kills its worker: begun {self._starts[unit.name]} times, last on {flight.worker}")
            else:
                self._isolate(unit, f"{flight.starts} workers died while they had it")
        elif isinstance(message.error, AoiMissError):
            self._end(unit.scene, SKIPPED, error=text)
        elif isinstance(message.error, SceneError) and Path(unit.path).is_file():
            self._give_up(unit, text)  # a file of this machine will not mend by itself
        else:
            self._again(unit, text)

    def _again(self, unit: Unit, error: str) -> None:
        if self._starts[unit.name] > self._retries:
            tried = self._starts[unit.name]
            self._give_up(unit, f"{error} (tried {tried} times)" if tried > 1 else error)
            return
        self._manifest.unit_waits(unit, error)
        self._ready.append(unit)

    def _bounce(self, unit: Unit, error: str) -> None:
        self._bounces[unit.name] += 1
        if self._bounces[unit.name] > BOUNCES:
            self._give_up(unit, error)
        else:
            self._ready.append(unit)

    def _isolate(self, unit: Unit, error: str) -> None:
        self._manifest.unit_waits(unit, error)
        self._progress.warn(f"{unit.path} (unit {unit.name}): {error}; it will be tried alone, at the end")
        self._alone.append(unit)

    def _give_up(self, unit: Unit, error: str) -> None:
        if unit.strip is None:
            self._end(unit.scene, FAILED, error=error)
        elif unit.scene in self._hand:
            self._manifest.strip_failed(unit, error)
            self._hand[unit.scene].errors[unit.strip.first_row] = error
            self._progress.advance(unit.scene, unit.strip.tiles)
            self._closed(unit.scene, unit.strip)

    def _closed(self, scene: int, strip: Strip) -> None:
        open_strips = self._hand[scene].open_strips
        open_strips.discard(strip.first_row)
        if not open_strips:
            self._complete(scene)

    def _complete(self, scene: int) -> None:
        """All strips of a scene are here, or given up: put them together in plan order."""
        hand = self._hand[scene]
        parts = [self._labels_of(scene, hand, strip) for strip in hand.facts.strips]
        self._write(hand.row, hand.facts, SceneLabels.joined(parts), hand.clock, "; ".join(hand.errors.values()))

    def _labels_of(self, scene: int, hand: SceneInHand, strip: Strip) -> SceneLabels:
        if strip.first_row in hand.errors:
            return failed_labels(hand.facts.tile_ids(strip), hand.errors[strip.first_row])
        return unpack(self._spool.get(scene, strip))

    def _whole(self, row: SceneRow, facts: SceneFacts, outcome: Outcome, labels: bytes) -> None:
        self._progress.start(row.id, row.path, facts.tiles)
        self._warn(row, facts)
        self._progress.advance(row.id, facts.tiles)
        self._manifest.strip_done(row.id, facts.strips[0], outcome)
        self._write(row, facts, unpack(labels), self._clocks.pop(row.id), "")

    def _write(self, row: SceneRow, facts: SceneFacts, labels: SceneLabels, clock: Clock, error: str) -> None:
        labelled = Labelled(
            row, Footing.of_cache(facts.key), labels, self._manifest.device(row.id), facts.key.precision, clock
        )
        try:
            state, output = self._sink.write(labelled)
        except SceneError as err:  # not one tile could be read
            self._end(row.id, FAILED, error=str(err))
            return
        counts = labels.count()
        self._manifest.scene_ended(
            row.id, PARTIAL if error else state, counts=counts, output=output, error=error or None
        )
        self._hand.pop(row.id, None)
        self._manifest.commit()
        self._sink.settle()
        if not error:
            self._spool.drop(row.id)
        self._progress.ended(row.id, row.path, PARTIAL if error else DONE, counts, output, error, clock.seconds)

    def _end(self, scene: int, state: str, *, error: str) -> None:
        """A scene ends without a result."""
        row = self._manifest.scene(scene)
        self._manifest.scene_ended(scene, state, error=error)
        self._spool.drop(scene)
        self._hand.pop(scene, None)
        self._clocks.pop(scene, None)
        self._ready = deque(unit for unit in self._ready if unit.scene != scene)
        self._progress.ended(scene, row.path, state, None, None, error, 0.0)

    def _warn(self, row: SceneRow, facts: SceneFacts) -> None:
        for warning in facts.warnings:
            self._progress.warn(warning if row.path in warning else f"{row.path}: {warning}")

    def _forget(self, ticket: str, *, hung_on: str | None = None) -> None:
        del self._flights[ticket]
        self._pool.drop(ticket, hung_on=hung_on)

    def _stop_hung(self) -> None:
        if self._timeout_s is None:
            return
        now_s = time.monotonic()
        for ticket, flight in list(self._flights.items()):
            if flight.started_s is not None and now_s - flight.started_s > self._timeout_s:
                self._forget(ticket, hung_on=flight.worker)
                error = f"took more than {self._timeout_s:g} s on {flight.worker}, which is restarted"
                self._progress.warn(f"{flight.unit.path} (unit {flight.unit.name}): {error}")
                self._progress.advance(flight.unit.scene, -flight.told)
                self._again(flight.unit, error)

    def _commit(self) -> None:
        if time.monotonic() - self._committed_s > COMMIT_EVERY_S:
            self._manifest.commit()
            self._committed_s = time.monotonic()
