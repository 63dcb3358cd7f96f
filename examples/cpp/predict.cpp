// Detect in a pair with ONNX Runtime and OpenCV: predict MODEL.onnx RGB IR IMGSZ
// The file is written by `yolofuse export --nms`, without `val.letterbox=square`; images of 8 bits that show the same
// view. IMGSZ is that of the file.
// Prints class id, score and the corners of each box in pixels of the RGB image.
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <vector>

namespace {
constexpr int kStride = 32;
constexpr int kColumns = 7;  // image, x1, y1, x2, y2, score, class

// Copy the channels of an interleaved image one after the other.
std::vector<uint8_t> planes(const cv::Mat& image) {
    std::vector<cv::Mat> channels;
    cv::split(image, channels);
    std::vector<uint8_t> out;
    for (const cv::Mat& channel : channels) out.insert(out.end(), channel.datastart, channel.dataend);
    return out;
}
}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::fprintf(stderr, "usage: predict MODEL.onnx RGB IR IMGSZ\n");
        return 2;
    }
    cv::Mat rgb = cv::imread(argv[2], cv::IMREAD_COLOR), ir = cv::imread(argv[3], cv::IMREAD_GRAYSCALE);
    if (rgb.empty() || ir.empty()) {
        std::fprintf(stderr, "cannot read %s or %s\n", argv[2], argv[3]);
        return 2;
    }
    cv::cvtColor(rgb, rgb, cv::COLOR_BGR2RGB);
    cv::resize(ir, ir, rgb.size());

    const double gain = std::atof(argv[4]) / std::max(rgb.cols, rgb.rows);
    const double exact_x = rgb.cols * gain, exact_y = rgb.rows * gain;
    const int how = gain < 1 ? cv::INTER_AREA : cv::INTER_LINEAR;
    cv::resize(rgb, rgb, {}, gain, gain, how);
    cv::resize(ir, ir, {}, gain, gain, how);
    const int free_x = (kStride - rgb.cols % kStride) % kStride, free_y = (kStride - rgb.rows % kStride) % kStride;
    const int left = static_cast<int>(std::nearbyint((free_x + rgb.cols - exact_x) / 2));
    const int top = static_cast<int>(std::nearbyint((free_y + rgb.rows - exact_y) / 2));
    cv::copyMakeBorder(rgb, rgb, top, free_y - top, left, free_x - left, cv::BORDER_CONSTANT, cv::Scalar::all(114));
    cv::copyMakeBorder(ir, ir, top, free_y - top, left, free_x - left, cv::BORDER_CONSTANT, cv::Scalar::all(114));

    Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "predict");
    Ort::SessionOptions options;
    Ort::Session session(env, argv[1], options);
    auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<uint8_t> rgb_planes = planes(rgb), ir_planes = planes(ir);
    const std::array<int64_t, 4> rgb_shape{1, 3, rgb.rows, rgb.cols}, ir_shape{1, 1, ir.rows, ir.cols};
    std::array<Ort::Value, 2> inputs{
        Ort::Value::CreateTensor<uint8_t>(memory, rgb_planes.data(), rgb_planes.size(), rgb_shape.data(), 4),
        Ort::Value::CreateTensor<uint8_t>(memory, ir_planes.data(), ir_planes.size(), ir_shape.data(), 4)};
    const char* input_names[] = {"rgb", "ir"};
    const char* output_names[] = {"boxes"};
    auto outputs = session.Run(Ort::RunOptions{nullptr}, input_names, inputs.data(), inputs.size(), output_names, 1);

    const int64_t rows = outputs[0].GetTensorTypeAndShapeInfo().GetShape()[0];
    const float* row = outputs[0].GetTensorData<float>();
    for (int64_t i = 0; i < rows; ++i, row += kColumns) {
        std::printf("%d %.4f %.2f %.2f %.2f %.2f\n", static_cast<int>(row[6]), row[5], (row[1] - left) / gain,
                    (row[2] - top) / gain, (row[3] - left) / gain, (row[4] - top) / gain);
    }
    return 0;
}
