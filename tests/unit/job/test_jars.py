"""Which jars a session is started with: those that were fetched before, as long as all of them are there."""

import fcntl

from streaming.job.jars import CONNECTOR, alone_with_ivy, connector, ivy_folder, keep_list_of_jars


def test_ivy_is_asked_until_its_jars_are_known_and_again_when_one_is_gone(tmp_path):
    asked = connector(tmp_path)
    assert asked["spark.jars.packages"] == CONNECTOR
    assert "spark.jars" not in asked
    folder = ivy_folder(tmp_path) / "jars"
    folder.mkdir(parents=True)
    jars = [folder / "org.a_one-1.0.jar", folder / "org.b_two-2.0.jar"]
    for jar in (*jars, folder / "org.b_two-1.9.jar"):
        jar.touch()
    keep_list_of_jars(tmp_path, [f"spark://127.0.0.1:4040/jars/{jar.name}" for jar in jars])
    assert connector(tmp_path) == {"spark.jars": f"{jars[0]},{jars[1]}"}
    jars[1].unlink()
    assert connector(tmp_path) == asked


def test_one_process_at_a_time_fetches_jars(tmp_path):
    tried = []

    def try_it():
        with (tmp_path / "ivy.lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                tried.append("alone")
            except BlockingIOError:
                tried.append("another fetches")

    with alone_with_ivy(tmp_path):
        try_it()
    try_it()
    assert tried == ["another fetches", "alone"]


def test_a_session_without_jars_leaves_nothing_to_start_with(tmp_path):
    keep_list_of_jars(tmp_path, [""])
    assert "spark.jars.packages" in connector(tmp_path)
