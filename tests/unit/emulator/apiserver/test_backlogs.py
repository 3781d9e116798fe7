from podwire.emulator.apiserver import backlogs
from podwire.emulator.apiserver.backlogs import Backlogs


class Client:
    """A connection with *unread* bytes."""

    def __init__(self, unread: int = 0) -> None:
        self.unread = unread

    def get_write_buffer_size(self) -> int:
        return self.unread


def test_one_may_lag_so_far_alone() -> None:
    counted, client = Backlogs(), Client(backlogs.LARGEST)
    assert counted.bears(client)
    client.unread += 1
    assert not counted.bears(client)
    assert counted.bears(client, opening=1)


def test_together_each_has_a_fair_share() -> None:
    counted = Backlogs(together=1000)
    greedy, modest = Client(900), Client(90)
    assert counted.bears(greedy)
    assert counted.bears(modest)
    modest.unread = 200
    assert counted.bears(modest), "less than its half"
    assert not counted.bears(greedy)
    assert not counted.have_room()
    counted.forget(greedy)
    assert counted.have_room()


def test_who_has_read_since_is_asked_before_others_are_cut() -> None:
    counted = Backlogs(together=1000)
    quick, other = Client(900), Client(600)
    assert counted.bears(quick)
    quick.unread = 0
    assert counted.bears(other)


def test_what_is_about_to_be_written_counts() -> None:
    counted, client = Backlogs(together=1000), Client()
    counted.expect(client, 1001)
    client.unread = 1001
    assert not counted.have_room()
    counted.forget(client)
    assert counted.have_room()
