load common

# docs/claims.md says what is right and wrong of what is published about sharing GPUs, with the command that shows it.
# Its console blocks are run here: after each "$ command" stand lines that its output must contain, in that order;
# a line "..." stands for any.

@test "every command of docs/claims.md says what the page says" {
  PATH=$TRANCHE_BIN:$PATH python3 - "$TRANCHE_SOURCE/docs/claims.md" <<'PYTHON'
import re, subprocess, sys

text = open(sys.argv[1]).read()
checked, wrong = 0, []
for block in re.findall(r"```console\n(.*?)```", text, re.S):
    command, expected = None, []
    def check():
        global checked
        if command is None:
            return
        run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        lines = [" ".join(line.split()) for line in (run.stdout + run.stderr).splitlines()]
        at = 0
        for line in expected:
            line = " ".join(line.split())
            while at < len(lines) and line not in lines[at]:
                at += 1
            if at == len(lines):
                wrong.append(f"$ {command}\n  never says: {line}\n  but:\n" + run.stdout + run.stderr)
                break
            at += 1
        if not expected:
            wrong.append(f"$ {command}\n  nothing is expected of it")
        checked += 1
    for line in map(str.strip, block.splitlines()):  # blocks stand in lists too
        if line.startswith("$ "):
            check()
            command, expected = line[2:], []
        elif line and line != "...":
            expected.append(line)
    check()
print("\n".join(wrong))
print(checked, "commands")
sys.exit(1 if wrong or checked < 10 else 0)
PYTHON
}
