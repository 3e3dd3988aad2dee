#include "catalog/catalog.h"

#include "base/suggest.h"
#include "catalog/vgpu_catalog.h"
#include "face/cli/catalog_vgpu.h"
#include "face/cli/catalog_view.h"
#include "face/cli/context.h"
#include "face/cli/verb.h"

namespace tranche {
namespace {

class CatalogVerb final : public Verb {
 public:
  Info info() const override {
    return {"catalog",
            "Shows the facts that Tranche plans with: gpus, mig, vgpu, mechanisms, models",
            {"tranche catalog gpus", "tranche catalog mig H100-SXM5-80GB",
             "tranche catalog mig --layouts A100-SXM4-40GB", "tranche catalog vgpu A40",
             "tranche catalog mechanisms", "tranche catalog models"},
            "With -o wide or json, each doubtful fact has its source and how far to believe it."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Positional("WHAT", what_, "gpus, mig, vgpu, mechanisms or models", true)
        .Positional("GPU", gpu_, "of 'mig' and 'vgpu': only this GPU")
        .Flag("--layouts", layouts_, "of 'mig': every layout to which nothing can be added");
  }

  Result<int> Run(Context& context) override {
    const auto loaded = context.catalog();
    if (!loaded) return tl::unexpected<Error>(loaded.error());
    const Catalog& catalog = **loaded;
    const bool of_a_gpu = what_ == "mig" || what_ == "vgpu";
    if ((!of_a_gpu && !gpu_.empty()) || (what_ != "mig" && layouts_)) {
      return Fail(ErrorCode::kInvalid,
                  "only 'catalog mig' and 'catalog vgpu' take a GPU, and only mig --layouts");
    }
    if (what_ == "gpus") return Show(context, ViewCatalogGpus(catalog));
    if (what_ == "mechanisms") return Show(context, ViewCatalogMechanisms(catalog));
    if (what_ == "models") return Show(context, ViewCatalogModels(catalog));
    if (what_ == "mig") return ShowMig(context, catalog);
    if (what_ == "vgpu") return ShowVgpus(context, catalog);
    const std::string meant = DidYouMean(what_, {"gpus", "mig", "vgpu", "mechanisms", "models"});
    return Fail(ErrorCode::kInvalid, "the catalog has no '" + what_ + "'",
                meant.empty() ? "it has gpus, mig, vgpu, mechanisms and models" : meant);
  }

 private:
  static Result<int> Show(Context& context, const Answer& answer) {
    context.Print(answer);
    return 0;
  }

  Result<int> ShowVgpus(Context& context, const Catalog& catalog) {
    const CatalogGpu* gpu = nullptr;
    if (!gpu_.empty()) {
      const auto found = catalog.FindGpu(gpu_);
      if (!found) return tl::unexpected<Error>(found.error());
      gpu = *found;
      if (BuiltInVgpuCatalog().FindBoard(gpu->key) == nullptr) {
        return Fail(ErrorCode::kNotFound,
                    gpu->vgpu_capable ? "which types of vGPUs " + gpu->key + " has is not known"
                                      : gpu->key + " has no vGPUs",
                    "'tranche catalog vgpu' shows which are known");
      }
    }
    return Show(context, ViewCatalogVgpus(catalog, gpu));
  }

  Result<int> ShowMig(Context& context, const Catalog& catalog) {
    const CatalogGpu* gpu = nullptr;
    if (!gpu_.empty()) {
      const auto found = catalog.FindGpu(gpu_);
      if (!found) return tl::unexpected<Error>(found.error());
      gpu = *found;
      if (!gpu->mig_capable) {
        return Fail(ErrorCode::kNotFound, gpu->key + " has no MIG",
                    "'tranche catalog gpus' shows which have");
      }
    }
    if (!layouts_) return Show(context, ViewCatalogMig(catalog, gpu));
    if (gpu == nullptr) {
      return Fail(ErrorCode::kInvalid, "--layouts needs a GPU",
                  "tranche catalog mig --layouts H100-SXM5-80GB");
    }
    const auto answer = ViewCatalogLayouts(*gpu);
    if (!answer) return tl::unexpected<Error>(answer.error());
    return Show(context, *answer);
  }

  std::string what_;
  std::string gpu_;
  bool layouts_ = false;
};

}  // namespace

std::unique_ptr<Verb> MakeCatalogVerb() { return std::make_unique<CatalogVerb>(); }

}  // namespace tranche
