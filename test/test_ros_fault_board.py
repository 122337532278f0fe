"""Which faults are active."""

from intake_rig import SECOND

from cgc_ros.ros.faults import FaultBoard


class Heard:
    """A FaultListener."""

    def __init__(self):
        self.lines = []

    def fault_appeared(self, fault):
        self.lines.append(f"+{fault.name}")

    def fault_gone(self, fault):
        self.lines.append(f"-{fault.name} {fault.count}")


def test_the_board_forgets_what_did_not_happen_again_and_tells_of_what_appears_and_goes():
    now, heard = [0], Heard()
    board = FaultBoard(lambda: now[0])
    board.listeners.append(heard)
    board.report("bad_image", "first")
    board.report("bad_image", "second")
    assert [(fault.name, fault.message, fault.count) for fault in board.active()] == [("bad_image", "second", 2)]
    assert heard.lines == ["+bad_image"]
    now[0] = 6 * SECOND
    assert board.active() == [] and heard.lines[1:] == ["-bad_image 2"]
    board.report("bad_image", "again")
    board.clear("bad_image", "no_images")
    assert board.active() == [] and heard.lines[2:] == ["+bad_image", "-bad_image 1"]
