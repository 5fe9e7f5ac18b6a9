"""Real shells on a terminal of their own: a line is typed, the completion is asked for, and the
words that then stand on the line come back. Used by test_completion.py.

The command of the line is a function that prints its arguments between two control characters;
every candidate is inserted (readline's insert-completions, zsh's _all_matches), so that nothing has
to be read off a screen.
"""

import os
import pty
import select
import shutil
import signal
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(HERE)), "deploy/completion")
ASK = "\x18a"  # Ctrl-x a
PRINT = r"""() { printf '\002'; printf '%s\037' "$@"; printf '\003\n'; }"""
SECONDS = 20

BASH = r"""
unset PROMPT_COMMAND; PS1=
bind 'set enable-bracketed-paste off' 2>/dev/null
bind '"\C-xa": insert-completions'
source SCRIPTS/imdsgate.bash; source SCRIPTS/imdsgated.bash
imdsgate""" + PRINT + "\nimdsgated" + PRINT + "\n"

ZSH = r"""
PS1= PS2= RPS1=; unsetopt promptcr promptsp bracketedpaste 2>/dev/null; unset zle_bracketed_paste
fpath=(SCRIPTS $fpath); autoload -Uz compinit; compinit -u -D
zle -C insert-all complete-word _generic
zstyle ':completion:insert-all:*' completer _all_matches _complete
zstyle ':completion:insert-all:*' insert true
bindkey '^Xa' insert-all
imdsgate""" + PRINT + "\nimdsgated" + PRINT + "\n"


class Terminal:
    """A shell that reads lines from a terminal; `with` ends it."""

    def __init__(self, argv, setup, env, cwd):
        self._seen, self.shown = b"", ""
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, cwd=cwd,
                                         env=env, start_new_session=True)
        os.close(slave)
        self._type(setup.replace("SCRIPTS", SCRIPTS) + "printf '\\002ready\\003\\n'\n")
        assert self._answer() == "ready"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        os.close(self._master)

    def _type(self, text):
        data = text.encode()
        while data:
            data = data[os.write(self._master, data[:512]):]

    def _answer(self):
        """What was printed between the marks."""
        deadline = time.monotonic() + SECONDS
        while b"\x03" not in self._seen:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._master], [], [], left)[0]:
                raise AssertionError(f"no answer; the terminal says {self._seen!r}")
            self._seen += os.read(self._master, 65536)
        text, self._seen = self._seen.split(b"\x03", 1)
        shown, _, answer = text.rpartition(b"\x02")
        self.shown = shown.decode()  # what stood on the terminal before
        return answer.decode()

    def complete(self, line):
        """The words behind the command once every candidate was inserted."""
        self._type(line + ASK + "\n")
        return self._answer().split("\x1f")[:-1]


class Fish:
    """fish tells its candidates without a terminal."""

    def __init__(self, env, cwd):
        self._env, self._cwd, self.shown = env, cwd, ""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def complete(self, line):
        script = (f"source {SCRIPTS}/imdsgate.fish; source {SCRIPTS}/imdsgated.fish; "
                  "complete -C $argv[1]")
        run = subprocess.run(["fish", "--no-config", "-c", script, line], env=self._env,
                             cwd=self._cwd, capture_output=True, text=True, timeout=SECONDS,
                             check=True, stdin=subprocess.DEVNULL)
        assert not run.stderr, run.stderr
        before = line.split(" ")[1:-1]
        found = [text.split("\t")[0] for text in run.stdout.splitlines()]
        return before + (found or ([line.split(" ")[-1]] if line[-1] != " " else []))


def start(name, env, cwd):
    if not shutil.which(name):
        return None
    if name == "bash":
        return Terminal(["bash", "--noprofile", "--norc", "-i"], BASH, env, cwd)
    if name == "zsh":
        return Terminal(["zsh", "-f", "-i"], ZSH, env, cwd)
    return Fish(env, cwd)
