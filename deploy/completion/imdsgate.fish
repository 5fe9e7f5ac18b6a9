# fish completion for imdsgate. It hands the words over and shows what `imdsgate complete` prints;
# what may stand where is known there. It must say nothing when the program is not there, and runs
# it from PATH only, whatever was typed.

function __imdsgate_complete
    command -q imdsgate; or return
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l flag (string match -r -- '^--[^=]+=' $word)
    for line in (command imdsgate complete -- $words[2..-1] "$word" 2>/dev/null)
        switch $line
            case :files
                printf "$flag%s\n" (__fish_complete_path (string replace -- "$flag" '' "$word"))
            case :directories
                printf "$flag%s\n" (__fish_complete_directories (string replace -- "$flag" '' "$word") '')
            case '*'
                printf '%s\n' $line
        end
    end
end

complete -c imdsgate -f -a '(__imdsgate_complete)'
