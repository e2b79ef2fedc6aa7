// Tokens of a template to its tree.
#ifndef RONDO_TEXT_JINJA_PARSER_H_
#define RONDO_TEXT_JINJA_PARSER_H_

#include "absl/status/statusor.h"
#include "text/jinja/ast.h"
#include "text/jinja/source.h"

namespace rondo::text::jinja {

// The tree of a template. What the language has and this interpreter does not (include, extends, import, block ...) is
// an Unimplemented error; every error names line and column.
absl::StatusOr<Body> ParseTemplate(const Source& source);

}  // namespace rondo::text::jinja

#endif  // RONDO_TEXT_JINJA_PARSER_H_
