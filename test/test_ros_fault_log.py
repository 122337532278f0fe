"""What the node's log says of faults and of the map: a file of its own, for the log is the whole process's."""

from cgc_ros.srv import LoadMap, SaveMap
from ros_rig import Rig
from std_srvs.srv import Trigger

from cgc_ros.ros.faults import FAULTS


def test_a_fault_is_one_line_in_the_log_with_its_remedy_and_one_when_it_is_over(tmp_path, capfd):
    heard = [""]

    def said(text):
        heard[0] += capfd.readouterr().err  # which may end in the middle of a line
        return [line for line in heard[0].split("\n")[:-1] if text in line]

    with Rig(map_directory=str(tmp_path)) as rig:
        rig.connect()
        rig.wait(lambda: said("no_images: "), 10.0)
        rig.wait(lambda: said("no_images is over"), do=rig.send, every=0.1)
        (appeared,) = said("no_images: ")
        assert "[ERROR]" in appeared and FAULTS["no_images"].remedy[1:] in appeared
        assert rig.call(SaveMap, "cgc/save_map", name="m").success
        assert rig.call(LoadMap, "cgc/load_map", name="m").success
        assert rig.call(Trigger, "cgc/reset").success
        path = tmp_path / "m.cgc"
        for line in (f"map saved to {path}", f"map loaded from {path}: ", "map reset: "):
            assert len(said(line)) == 1
