"""What the endpoints answer, and when."""

from __future__ import annotations

from aurora_sql.local._directory import Directory, View

A, B, C = ("127.0.0.11", 1), ("127.0.0.12", 1), ("127.0.0.13", 1)


class Scene:
    def __init__(self, lag):
        self.now = 100.0
        self.view = View(A, (B, C))
        self.directory = Directory(lambda: self.view, lag, lambda: self.now)
        self.directory.look()


def test_without_lag_a_change_is_answered_at_once():
    scene = Scene(0.0)
    assert [scene.directory.reader() for _ in range(3)] == [B, C, B]
    scene.view = View(B, ())
    assert scene.directory.writer() == B
    assert scene.directory.reader() == B  # nobody else: the writer


def test_with_lag_each_change_is_answered_when_its_time_has_come():
    scene = Scene(5.0)
    scene.view = View(B, (A, C))
    assert scene.directory.writer() == A
    scene.now += 2
    scene.view = View(C, (A, B))
    assert scene.directory.writer() == A
    scene.now += 3
    assert scene.directory.writer() == B
    assert {scene.directory.reader() for _ in range(2)} == {A, C}
    scene.now += 2
    assert scene.directory.writer() == C


def test_a_change_that_is_taken_back_is_answered_too():
    scene = Scene(5.0)
    scene.view = View(B, (A,))
    scene.directory.look()
    scene.now += 1
    scene.view = View(A, (B, C))
    scene.directory.look()
    scene.now += 4
    assert scene.directory.writer() == B
    scene.now += 1
    assert scene.directory.writer() == A


def test_nobody_to_lead_to():
    scene = Scene(0.0)
    scene.view = View(None, ())
    assert scene.directory.writer() is None
    assert scene.directory.reader() is None
