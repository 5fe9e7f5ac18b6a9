/*
 * Giving back what only the start needed. A process that waits for years should not keep the pages
 * of its first second: the heap's free top and middle, and those of programs and libraries that
 * were read for relocation or run once.
 */
#pragma once

/* Call it when the start is over. Cannot fail, and nothing is lost: what is needed again is read
 * from the page cache. */
void ig_memory_give_back(void);
