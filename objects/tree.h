/* The object tree: `root`, directories, and ls().
 *
 * A Directory holds named values; root.name and root["name"] are the same entry. Everything reachable from `root` is shared by all
 * sessions and lives as long as the world. */
#ifndef OBJECTS_TREE_H
#define OBJECTS_TREE_H

/* Mark what the tree holds; from the collector only. */
void tree_mark(void);

/* Once, at birth, after the heap. */
void tree_init(void);

#endif
