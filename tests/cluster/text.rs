//! What is read from a profile, and what becomes of it in a script: nothing a user writes is syntax.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::cluster::Profile;
use harness::cluster::script::{self, script, submission};
use harness::cluster::submissions::Submissions;
use harness::plan::RunId;

fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("cluster")
        .join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn read(dir: &Path, text: &str) -> Result<Profile, String> {
    let path = dir.join("profile.yaml");
    fs::write(&path, text).unwrap();
    let shown = |problems: harness::suite::Problems| {
        problems.render(false).replace(dir.to_str().unwrap(), "DIR")
    };
    Profile::read(&path).map_err(shown)
}

/// Words that do something when a shell, or `sbatch`, reads them as its own.
const HOSTILE: &[&str] = &[
    "a b",
    "$(touch DIR/harmed)",
    "`touch DIR/harmed`",
    "'; touch DIR/harmed; '",
    "\"; touch DIR/harmed; \"",
    "#SBATCH --uid=0",
    "&& touch DIR/harmed",
    "${HOME} $HOME ~ * ? [a] {a,b} !! \\",
    "-n",
    "ä—日本",
];

#[test]
fn hostile_words_reach_the_program_as_they_are() {
    let dir = folder("hostile");
    let hostile: Vec<String> = HOSTILE
        .iter()
        .map(|word| word.replace("DIR", dir.to_str().unwrap()))
        .collect();
    let listed = serde_json::to_string(&hostile).unwrap();
    let environment: Vec<String> = hostile
        .iter()
        .enumerate()
        .map(|(i, word)| format!("  V{i}: {}\n", serde_json::to_string(word).unwrap()))
        .collect();
    let show = dir.join("show it.sh");
    let names: Vec<String> = (0..hostile.len()).map(|i| format!("\"$V{i}\"")).collect();
    fs::write(
        &show,
        format!(
            "printf '%s\\n' \"$@\" >words\nprintf '%s\\n' {} >values\n",
            names.join(" ")
        ),
    )
    .unwrap();
    let profile = read(
        &dir,
        &format!(
            "time: 10\nmodules: {listed}\ncontainer: [bash, {:?}]\nenvironment:\n{}",
            show,
            environment.concat()
        ),
    )
    .unwrap();
    let runs = dir.join("ru'ns $(touch harmed)");
    fs::write(&runs, "first\nsecond\n").unwrap();
    let command = script::Command {
        program: "/the program".into(),
        arguments: hostile.clone(),
    };
    let text = script(&profile, &command, &runs);
    fs::write(dir.join("script.sh"), &text).unwrap();
    // The stand-in for `module` says what it was asked for.
    let module = "module() { printf '%s\\n' \"$2\" >>modules; }; export -f module; bash script.sh";
    let status = Command::new("bash")
        .args(["-c", module])
        .env("SLURM_ARRAY_TASK_ID", "1")
        .current_dir(&dir)
        .status()
        .unwrap();
    assert!(status.success(), "{text}");
    let lines = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(dir.join(name)).unwrap();
        text.lines().map(str::to_string).collect()
    };
    let mut words = vec!["/the program".to_string()];
    words.extend(hostile.clone());
    words.extend(["--only", "run=second", "--slots", "cpu:1x1"].map(str::to_string));
    assert_eq!(lines("words"), words);
    assert_eq!(lines("values"), hostile);
    assert_eq!(lines("modules"), hostile);
    assert!(!dir.join("harmed").exists());
    let first = text.lines().find(|line| !line.starts_with('#'));
    assert_eq!(
        first,
        Some("set -u"),
        "sbatch reads options no further than this"
    );
}

#[test]
fn a_users_variables_are_not_those_of_the_script() {
    let dir = folder("variables");
    let profile = read(
        &dir,
        "time: 10\ncontainer: [bash, -c]\nenvironment: {run: theirs, runs: theirs, child: theirs, code: \"9\"}\n",
    )
    .unwrap();
    let runs = dir.join("runs");
    fs::write(&runs, "first\nsecond\n").unwrap();
    let command = script::Command {
        program: "echo \"$1\" >ran; exit 3".into(),
        arguments: vec!["name".into()],
    };
    fs::write(dir.join("script.sh"), script(&profile, &command, &runs)).unwrap();
    let status = Command::new("bash")
        .arg("script.sh")
        .env("SLURM_ARRAY_TASK_ID", "1")
        .current_dir(&dir)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3));
    // `bash -c PROGRAM name --only run=second ...`
    let ran = fs::read_to_string(dir.join("ran")).unwrap();
    assert_eq!(ran, "--only\n");
    let text = fs::read_to_string(dir.join("script.sh")).unwrap();
    let at = |part: &str| text.find(part).unwrap();
    assert!(at("export run=") < at("run=${runs"));
}

#[test]
fn the_script_ends_as_the_run_ends_and_passes_signals_on() {
    let dir = folder("signals");
    let profile = read(&dir, "time: 10\ncontainer: [bash, -c]\n").unwrap();
    let runs = dir.join("runs");
    fs::write(&runs, "only\n").unwrap();
    let code = |program: &str, restarts: &str, signal: &str| {
        let command = script::Command {
            program: program.into(),
            arguments: Vec::new(),
        };
        fs::write(dir.join("script.sh"), script(&profile, &command, &runs)).unwrap();
        // The stand-in ends the script, as being started again does.
        let around = format!(
            "scontrol() {{ echo \"$@\" >>asked; kill -KILL $PPID; kill -KILL $$; }}; export -f scontrol; rm -f asked ready\n\
             bash script.sh & child=$!\n\
             if [ -n '{signal}' ]; then while [ ! -f ready ]; do sleep 0.02; done; kill -s '{signal}' $child; fi\n\
             wait $child"
        );
        let status = Command::new("bash")
            .args(["-c", &around])
            .env("SLURM_ARRAY_TASK_ID", "0")
            .env("SLURM_ARRAY_JOB_ID", "7")
            .env("SLURM_RESTART_COUNT", restarts)
            .current_dir(&dir)
            .status()
            .unwrap();
        status.code()
    };
    let checkpointing = "trap 'exit 4' USR1; touch ready; while :; do sleep 0.05; done";
    assert_eq!(code("exit 3", "0", ""), Some(3));
    assert_eq!(
        code(
            "trap 'exit 4' TERM; touch ready; while :; do sleep 0.05; done",
            "0",
            "TERM"
        ),
        Some(4)
    );
    assert!(
        !dir.join("asked").exists(),
        "a job that is ended is not started again"
    );
    assert_eq!(
        code(checkpointing, "100", "USR1"),
        Some(4),
        "restarted often enough"
    );
    assert!(!dir.join("asked").exists());
    code(checkpointing, "99", "USR1");
    assert_eq!(
        fs::read_to_string(dir.join("asked")).unwrap(),
        "requeue 7_0\n"
    );
}

#[test]
fn options_reach_sbatch_as_words() {
    let dir = folder("options");
    let profile = read(
        &dir,
        "time: 1-00:00:00\npartition: gpu\naccount: a.b\nqos: high\ngres: gpu:a100:2\ncpus: 8\nmemory: 32G\n\
         constraint: a100&nvlink\narray: {size: 10, at_once: 3}\noptions: [\"--comment=a 'b' $(c)\", --exclusive]\n",
    )
    .unwrap();
    let words = submission(&profile, "name", Path::new("/s t"), 10);
    let expected = [
        "--parsable",
        "--job-name=name",
        "--array=0-9%3",
        "--chdir=/s t",
        "--output=/s t/%a.log",
        "--open-mode=append",
        "--ntasks=1",
        "--requeue",
        "--signal=B:USR1@120",
        "--time=1-00:00:00",
        "--cpus-per-task=8",
        "--partition=gpu",
        "--account=a.b",
        "--qos=high",
        "--gres=gpu:a100:2",
        "--constraint=a100&nvlink",
        "--mem=32G",
        "--comment=a 'b' $(c)",
        "--exclusive",
        "/s t/script.sh",
    ];
    assert_eq!(words, expected);
}

#[test]
fn what_is_wrong_with_a_profile_is_told_with_its_place() {
    let dir = folder("wrong");
    let mut told = String::new();
    for text in [
        "partitoin: gpu\ntime: 10\n",
        "partition: gpu\n",
        "time: 10\npartition: \"gpu\\n#SBATCH --uid=0\"\n",
        "time: 10\naccount: a b\nqos: $(id)\ngres: gpu:'1'\nmemory: lots\ncpus: 0\n",
        "time: 10\nmodules: [\"a\\nb\"]\ncontainer: [\"a\\u0000b\"]\nenvironment: {A: \"x\\ny\"}\n",
        "time: 10\nenvironment: {\"A=1; touch x #\": y, 1A: z}\n",
        "time: 10\nenvironment: {SLURM_ARRAY_TASK_ID: \"0\", SLURM_CONF: x}\n",
        "time: 10\noptions: [--version, --help, --usage]\n",
        "time: 10\noptions: [--array=0-1, --arr=0-1, -p gpu, --wrap=ls, \"--comment=a\\nb\"]\n",
        "time: 1\n",
        "time: soon\n",
        "time: !!str 10\n",
        "time: 10\n---\ntime: 20\n",
        "[time]\n",
    ] {
        let error = read(&dir, text).expect_err(text);
        told += &format!("{error}\n\n");
    }
    crate::snapshot("profile.txt", &told);
}

#[test]
fn the_profile_of_the_documentation_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Profile::read(&root.join("harness/cluster/example.yaml")).unwrap();
}

#[test]
fn submissions_count_since_a_user_was_told_how_the_run_ended() {
    let dir = folder("submissions");
    let profile = read(&dir, "time: 10\n").unwrap();
    let store = dir.join("store");
    assert!(!Submissions::exist(&store));
    let submissions = Submissions::of(&store).unwrap();
    assert!(submissions.open().is_empty());
    let command = script::Command {
        program: "/the program".into(),
        arguments: Vec::new(),
    };
    let [one, two] = ["1", "2"].map(|id| RunId(id.into()));
    let submit = |runs: &[&RunId]| {
        let runs: Vec<RunId> = runs.iter().map(|run| (*run).clone()).collect();
        let _lock = submissions.lock().unwrap();
        submissions.write(&profile, &command, &runs).unwrap().number
    };
    let open = || -> Vec<(String, Vec<u64>)> {
        let open = submissions.open().into_iter();
        open.map(|(run, numbers)| (run.0, numbers.into_iter().collect()))
            .collect()
    };
    let is = |run: &RunId, numbers: &[u64]| (run.0.clone(), numbers.to_vec());
    assert_eq!((submit(&[&one, &two]), submit(&[&one])), (1, 2));
    assert_eq!(open(), [is(&one, &[1, 2]), is(&two, &[1])]);
    submissions.end(2, &one).unwrap();
    assert_eq!(open(), [is(&two, &[1])]);
    // Two heads that wait for the same run both tell.
    submissions.end(2, &one).unwrap();
    assert_eq!(submit(&[&one, &two]), 3);
    assert_eq!(open(), [is(&one, &[3]), is(&two, &[1, 3])]);
}
