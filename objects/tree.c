#include "objects/tree.h"

#include <string.h>

#include "py/builtin.h"
#include "py/objstr.h"
#include "py/runtime.h"

#include "objects/limits.h"
#include "objects/memory.h"

#define VALUE_CHARACTERS_MAX 60

struct tree_directory {
    mp_obj_base_t base;
    mp_map_t entries;   /* names (str) to values */
};

extern const mp_obj_type_t tree_directory_type;
struct tree_directory tree_root;

void tree_mark(void)
{
    memory_mark(&tree_root, &tree_root + 1);
}

void tree_init(void)
{
    tree_root.base.type = &tree_directory_type;
    mp_map_init(&tree_root.entries, 0);
}

static struct tree_directory *directory_of(mp_obj_t object)
{
    return MP_OBJ_TO_PTR(object);
}

static mp_obj_t directory_make_new(const mp_obj_type_t *type, size_t count, size_t keyword_count, const mp_obj_t *arguments)
{
    (void)arguments;
    mp_arg_check_num(count, keyword_count, 0, 0, false);
    struct tree_directory *directory = mp_obj_malloc(struct tree_directory, type);
    mp_map_init(&directory->entries, 0);
    return MP_OBJ_FROM_PTR(directory);
}

/* --- Entries -------------------------------------------------------------------------------------------- */

static mp_obj_t entry_name(mp_obj_t name)
{
    if (!mp_obj_is_str(name))
        mp_raise_TypeError(MP_ERROR_TEXT("names in a Directory are strings"));
    return name;
}

static mp_map_elem_t *find(mp_obj_t self, mp_obj_t name)
{
    return mp_map_lookup(&directory_of(self)->entries, entry_name(name), MP_MAP_LOOKUP);
}

static void store(mp_obj_t self, mp_obj_t name, mp_obj_t value)
{
    mp_map_lookup(&directory_of(self)->entries, entry_name(name), MP_MAP_LOOKUP_ADD_IF_NOT_FOUND)->value = value;
}

static mp_obj_t directory_subscript(mp_obj_t self, mp_obj_t name, mp_obj_t value)
{
    if (value != MP_OBJ_SENTINEL && value != MP_OBJ_NULL) {
        store(self, name, value);
        return mp_const_none;
    }
    mp_map_elem_t *entry = find(self, name);
    if (entry == NULL)
        mp_raise_type_arg(&mp_type_KeyError, name);
    if (value == MP_OBJ_SENTINEL)
        return entry->value;
    mp_map_lookup(&directory_of(self)->entries, name, MP_MAP_LOOKUP_REMOVE_IF_FOUND);
    return mp_const_none;
}

static void directory_attribute(mp_obj_t self, qstr attribute, mp_obj_t *destination)
{
    mp_obj_t name = MP_OBJ_NEW_QSTR(attribute);
    if (destination[0] == MP_OBJ_NULL) {
        mp_map_elem_t *entry = find(self, name);
        if (entry != NULL)
            destination[0] = entry->value;
        else
            destination[1] = MP_OBJ_SENTINEL; /* look among the methods */
    } else if (destination[1] != MP_OBJ_NULL) {
        store(self, name, destination[1]);
        destination[0] = MP_OBJ_NULL;
    } else if (find(self, name) != NULL) {
        mp_map_lookup(&directory_of(self)->entries, name, MP_MAP_LOOKUP_REMOVE_IF_FOUND);
        destination[0] = MP_OBJ_NULL;
    }
}

static mp_obj_t directory_unary(mp_unary_op_t operation, mp_obj_t self)
{
    size_t used = directory_of(self)->entries.used;
    switch (operation) {
    case MP_UNARY_OP_BOOL:
        return mp_obj_new_bool(true);
    case MP_UNARY_OP_LEN:
        return MP_OBJ_NEW_SMALL_INT(used);
    default:
        return MP_OBJ_NULL;
    }
}

static mp_obj_t directory_binary(mp_binary_op_t operation, mp_obj_t left, mp_obj_t right)
{
    if (operation == MP_BINARY_OP_CONTAINS)
        return mp_obj_new_bool(mp_obj_is_str(right) && find(left, right) != NULL);
    return MP_OBJ_NULL;
}

static int compare_names(mp_obj_t left, mp_obj_t right)
{
    size_t left_bytes, right_bytes;
    const char *left_text = mp_obj_str_get_data(left, &left_bytes), *right_text = mp_obj_str_get_data(right, &right_bytes);
    int order = memcmp(left_text, right_text, left_bytes < right_bytes ? left_bytes : right_bytes);
    return order != 0 ? order : left_bytes < right_bytes ? -1 : left_bytes > right_bytes;
}

/* The names as a sorted list. */
static mp_obj_t sorted_names(const struct tree_directory *directory)
{
    mp_obj_t list = mp_obj_new_list(0, NULL);
    for (size_t i = 0; i < directory->entries.alloc; i++) {
        if (mp_map_slot_is_filled(&directory->entries, i))
            mp_obj_list_append(list, directory->entries.table[i].key);
    }
    size_t count;
    mp_obj_t *names;
    mp_obj_list_get(list, &count, &names);
    for (size_t i = 1; i < count; i++) {
        mp_obj_t name = names[i];
        size_t at = i;
        for (; at > 0 && compare_names(names[at - 1], name) > 0; at--)
            names[at] = names[at - 1];
        names[at] = name;
    }
    return list;
}

static mp_obj_t directory_keys(mp_obj_t self)
{
    return sorted_names(directory_of(self));
}
static MP_DEFINE_CONST_FUN_OBJ_1(directory_keys_object, directory_keys);

static mp_obj_t directory_values(mp_obj_t self)
{
    mp_obj_t names = sorted_names(directory_of(self)), values = mp_obj_new_list(0, NULL);
    size_t count;
    mp_obj_t *items;
    mp_obj_list_get(names, &count, &items);
    for (size_t i = 0; i < count; i++)
        mp_obj_list_append(values, find(self, items[i])->value);
    return values;
}
static MP_DEFINE_CONST_FUN_OBJ_1(directory_values_object, directory_values);

static mp_obj_t directory_items(mp_obj_t self)
{
    mp_obj_t names = sorted_names(directory_of(self)), pairs = mp_obj_new_list(0, NULL);
    size_t count;
    mp_obj_t *items;
    mp_obj_list_get(names, &count, &items);
    for (size_t i = 0; i < count; i++) {
        mp_obj_t pair[2] = {items[i], find(self, items[i])->value};
        mp_obj_list_append(pairs, mp_obj_new_tuple(2, pair));
    }
    return pairs;
}
static MP_DEFINE_CONST_FUN_OBJ_1(directory_items_object, directory_items);

static mp_obj_t directory_get(size_t count, const mp_obj_t *arguments)
{
    mp_map_elem_t *entry = find(arguments[0], arguments[1]);
    return entry != NULL ? entry->value : count > 2 ? arguments[2] : mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(directory_get_object, 2, 3, directory_get);

static mp_obj_t directory_iterate(mp_obj_t self, mp_obj_iter_buf_t *buffer)
{
    return mp_getiter(sorted_names(directory_of(self)), buffer);
}

/* --- Showing -------------------------------------------------------------------------------------------- */

static void directory_print(const mp_print_t *print, mp_obj_t self, mp_print_kind_t kind)
{
    (void)kind;
    if (self == MP_OBJ_FROM_PTR(&tree_root))
        mp_print_str(print, "<root>");
    else
        mp_printf(print, "<Directory of %u>", (unsigned)directory_of(self)->entries.used);
}

/* As much of a value as is shown. */
struct shown {
    char text[VALUE_CHARACTERS_MAX + 1];
    size_t bytes;
};

static void show(void *context, const char *text, size_t bytes)
{
    struct shown *shown = context;
    size_t room = sizeof shown->text - shown->bytes;
    memcpy(shown->text + shown->bytes, text, bytes < room ? bytes : room);
    shown->bytes += bytes < room ? bytes : room;
    if (bytes >= room)
        nlr_jump((void *)&mp_const_GeneratorExit_obj); /* that is enough: a value may be as large as memory */
}

/* What stands for a value whose text cannot be made: it must not hide the entries behind it. */
static void show_failure(struct shown *shown, void *exception)
{
    mp_obj_t error = MP_OBJ_FROM_PTR(exception);
    if (exception == (const void *)&mp_const_GeneratorExit_obj)
        return;
    if (!mp_obj_exception_match(error, MP_OBJ_FROM_PTR(&mp_type_Exception)))
        nlr_jump(exception);
    const char *name = qstr_str(mp_obj_get_type(error)->name);
    size_t bytes = strlen(name) < VALUE_CHARACTERS_MAX - 2 ? strlen(name) : VALUE_CHARACTERS_MAX - 2;
    shown->bytes = bytes + 2;
    shown->text[0] = '<';
    memcpy(shown->text + 1, name, bytes);
    shown->text[bytes + 1] = '>';
}

/* A value in one line: short ones as they print, long ones cut. */
static void print_value(mp_obj_t value)
{
    struct shown shown = {.bytes = 0};
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        const mp_print_t print = {&shown, show};
        mp_obj_print_helper(&print, value, PRINT_REPR);
        nlr_pop();
    } else {
        show_failure(&shown, nlr.ret_val);
    }
    size_t end = 0;
    while (end < shown.bytes && end < VALUE_CHARACTERS_MAX && shown.text[end] != '\n' && shown.text[end] != '\r')
        end++;
    while (end > 0 && end < shown.bytes && ((unsigned char)shown.text[end] & 0xc0) == 0x80)
        end--; /* not amid a character */
    mp_print_strn(&mp_plat_print, shown.text, end, 0, 0, 0);
    if (end < shown.bytes)
        mp_print_str(&mp_plat_print, "...");
    mp_print_str(&mp_plat_print, "\n");
}

static void print_indent(unsigned depth)
{
    for (unsigned i = 0; i < depth; i++)
        mp_print_str(&mp_plat_print, "  ");
}

/* A directory that is being shown, and those that it was found in. */
struct branch {
    mp_obj_t directory;
    unsigned depth;
    const struct branch *above;
};

static bool shown_above(const struct branch *branch, mp_obj_t directory)
{
    while (branch != NULL && branch->directory != directory)
        branch = branch->above;
    return branch != NULL;
}

/* Bounded by TREE_DEPTH_MAX, and by `lines`, which are left of all. */
static void print_tree(const struct branch *branch, unsigned *lines)
{
    size_t count;
    mp_obj_t *names;
    mp_obj_list_get(sorted_names(directory_of(branch->directory)), &count, &names);
    for (size_t i = 0; i < count; i++) {
        mp_map_elem_t *entry = find(branch->directory, names[i]);
        if (entry == NULL)
            continue;
        mp_obj_t value = entry->value;
        print_indent(branch->depth);
        if (i >= TREE_ENTRIES_MAX || *lines == 0) {
            mp_printf(&mp_plat_print, "... and %u more\n", (unsigned)(count - i));
            return;
        }
        --*lines;
        mp_obj_print_helper(&mp_plat_print, names[i], PRINT_STR);
        if (mp_obj_get_type(value) != &tree_directory_type) {
            mp_print_str(&mp_plat_print, " = ");
            print_value(value);
        } else if (branch->depth >= TREE_DEPTH_MAX || shown_above(branch, value)) {
            mp_print_str(&mp_plat_print, "/ ...\n");
        } else {
            mp_print_str(&mp_plat_print, "/\n");
            print_tree(&(struct branch){value, branch->depth + 1, branch}, lines);
        }
    }
}

static mp_obj_t tree_ls(size_t count, const mp_obj_t *arguments)
{
    mp_obj_t directory = count == 0 ? MP_OBJ_FROM_PTR(&tree_root) : arguments[0];
    if (mp_obj_get_type(directory) != &tree_directory_type) {
        print_value(directory);
        return mp_const_none;
    }
    mp_obj_print_helper(&mp_plat_print, directory, PRINT_STR);
    mp_print_str(&mp_plat_print, "\n");
    unsigned lines = TREE_LINES_MAX;
    print_tree(&(struct branch){directory, 1, NULL}, &lines);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tree_ls_object, 0, 1, tree_ls);

static const mp_rom_map_elem_t directory_methods_table[] = {
    {MP_ROM_QSTR(MP_QSTR_keys), MP_ROM_PTR(&directory_keys_object)},
    {MP_ROM_QSTR(MP_QSTR_values), MP_ROM_PTR(&directory_values_object)},
    {MP_ROM_QSTR(MP_QSTR_items), MP_ROM_PTR(&directory_items_object)},
    {MP_ROM_QSTR(MP_QSTR_get), MP_ROM_PTR(&directory_get_object)},
};
static MP_DEFINE_CONST_DICT(directory_methods, directory_methods_table);

MP_DEFINE_CONST_OBJ_TYPE(tree_directory_type, MP_QSTR_Directory, MP_TYPE_FLAG_NONE, make_new, directory_make_new, print,
                         directory_print, attr, directory_attribute, subscr, directory_subscript, unary_op, directory_unary,
                         binary_op, directory_binary, iter, directory_iterate, locals_dict, &directory_methods);
