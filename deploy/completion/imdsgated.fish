# fish completion for imdsgated, from what `imdsgated --help` prints: a flag a line, behind it what
# its value is. It must say nothing when the program is not there, and runs it from PATH only.

command -q imdsgated; or exit 0

complete -c imdsgated -f
for line in (command imdsgated --help 2>/dev/null | string match -r -- '^  --.*')
    set -l part (string match -r -- '^  --([a-z0-9-]+)( ([^ ]+))?  +(.*)$' $line)
    set -l name $part[2]
    set -l value $part[4]
    set -l help $part[5]
    switch "$value"
        case ''
            complete -c imdsgated -l $name -d "$help"
        case DIR
            complete -c imdsgated -l $name -d "$help" -x -a '(__fish_complete_directories (commandline -ct) "")'
        case FILE PATH
            complete -c imdsgated -l $name -d "$help" -r -F
        case '*'
            # small letters: the values themselves
            if string match -qr '[A-Z]' -- $value
                complete -c imdsgated -l $name -d "$help" -x
            else
                complete -c imdsgated -l $name -d "$help" -x -a "$(string replace -a '|' ' ' -- $value)"
            end
    end
end
